// What `top` makes of its readings, and how that looks on screens of several sizes: the screens are pinned to the
// character. The readings themselves are taken from a real Redis and real shards in the last suite.

import Glibc
import RedisQueue
import ServiceKit
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

private let topology = Topology(cluster: ClusterID(Bytes16(high: 0xABC, low: 0xDEF)), epoch: 2, partitions: 3)

/// A reading at a second, counted from the first.
private func reading(
    _ second: Int, counted: [UInt64?] = [], lags: [Int?] = [], admitted: UInt64? = nil, producer: UInt64 = 1,
    topology: Topology? = topology
) -> TopReading {
    var reading = TopReading(
        monotonicMilliseconds: UInt64(1_000_000 + second * 1_000),
        wallMilliseconds: 1_700_000_000_000 + Int64(second) * 1_000)
    reading.topology = topology
    for number in 0..<(topology?.partitions ?? 0) {
        var row = TopReading.Partition(number: UInt32(number))
        row.counted = number < counted.count ? counted[number] : nil
        if number < lags.count {
            row.lagMilliseconds = lags[number]
            row.batches = lags[number].map { $0 == 0 ? 0 : 12 * (number + 1) }
            row.bytes = lags[number].map { $0 * 10 }
            row.owner = number == 1 ? nil : "node-a:471\(number)"
            row.lastCommitMilliseconds = 1_700_000_000_000
        }
        reading.partitions.append(row)
    }
    if let admitted {
        let stream = ProducerLedger.Partition(
            number: 0, frozen: 9, confirmed: 8, stored: 5, admitted: Amount(increments: admitted, sum: 0),
            unpushed: Amount(increments: 17, sum: 0))
        let ledger = ProducerLedger(
            loop: 0, loops: 1, producer: ProducerID(Bytes16(high: 0, low: producer)), epoch: 2, partitions: [stream])
        let address = "http://127.0.0.1:3333"
        reading.nodes = [
            TopReading.Node(
                address: address, ledger: NodeLedger(address: address, producers: [ledger]), isReady: true)
        ]
    }
    return reading
}

@Suite struct TopModelTests {
    @Test func ratesNeedTwoReadings() {
        var model = TopModel()
        model.take(reading(0, counted: [100, 0, nil], lags: [0, 0, 0], admitted: 1_000))
        #expect(model.outRate == nil && model.inRate == nil && model.batches == 0)
        model.take(reading(2, counted: [300, 50, nil], lags: [40, nil, 0], admitted: 10_000))
        #expect(model.partitions.map(\.outRate) == [100, 25, nil])
        #expect(model.outRate == 125)
        #expect(model.inRate == 4_500)
        #expect(model.nodes[0].held == 4 && model.nodes[0].unpushed == 17)
        #expect(model.partitions.map(\.lags) == [[0, 40], [0, nil], [0, 0]])
        #expect(model.lagMilliseconds == 40 && model.batches == 12)
    }

    /// Totals of something else are not compared: a node that was started again, a shard that was put back, an epoch.
    @Test func totalsThatCannotBeCompared() {
        var model = TopModel()
        model.take(reading(0, counted: [100, 100, 100], lags: [1, 1, 1], admitted: 1_000))
        model.take(reading(1, counted: [90, 100, 110], lags: [1, 1, 1], admitted: 5_000, producer: 2))
        #expect(model.partitions.map(\.outRate) == [nil, 0, 10])
        #expect(model.inRate == nil)
        model.take(reading(2, counted: [95, 100, 110], lags: [1, 1, 1], admitted: 4_000, producer: 2))
        #expect(model.inRate == nil && model.partitions[0].outRate == 5)
        let next = Topology(cluster: topology.cluster, epoch: 3, partitions: 2)
        model.take(reading(3, counted: [500, 500], lags: [7, 7], topology: next))
        #expect(model.outRate == nil && model.partitions.map(\.lags) == [[7], [7]])
        // A reading without anything: Redis and the file are gone for a moment.
        model.take(reading(4, topology: nil))
        #expect(model.partitions.isEmpty && model.topology == next && model.batches == nil)
    }

    @Test func theHistoryHasSixtyReadings() {
        var model = TopModel()
        for second in 0..<75 { model.take(reading(second, lags: [second, nil, 0])) }
        #expect(model.partitions[0].lags == Array(15..<75))
        #expect(model.partitions[1].lags == Array(repeating: nil, count: 60))
        #expect(model.readings == 75)
    }

    @Test func json() {
        var model = TopModel()
        var second = reading(1, counted: [250, 10, nil], lags: [40, nil, 0], admitted: 1_234)
        second.problems = ["a \"b\""]
        model.take(reading(0, counted: [200, 10, nil], lags: [0, 0, 0], admitted: 1_000))
        model.take(second)
        #expect(
            model.json == #"{"time_ms":1700000001000,"cluster":"\#(topology.cluster)","epoch":2,"in_per_s":234.0,"#
                + #""out_per_s":50.0,"batches":12,"bytes":400,"lag_ms":40,"partitions":["#
                + #"{"partition":0,"out_per_s":50.0,"batches":12,"bytes":400,"lag_ms":40,"owner":"node-a:4710","#
                + #""last_commit_ms":1700000000000},"#
                + #"{"partition":1,"out_per_s":0.0,"batches":null,"bytes":null,"lag_ms":null,"owner":null,"#
                + #""last_commit_ms":1700000000000},"#
                + #"{"partition":2,"out_per_s":null,"batches":0,"bytes":0,"lag_ms":0,"owner":"node-a:4712","#
                + #""last_commit_ms":1700000000000}],"#
                + #""nodes":[{"node":"http://127.0.0.1:3333","in_per_s":234.0,"unpushed":17,"held":4,"ready":true}],"#
                + #""problems":["a \"b\""]}"#)
    }
}

@Suite struct SparklineTests {
    private func text(_ values: [Int?], _ width: Int, of count: Int = 0) -> String {
        Sparkline(heights: Sparkline.blocks, maximum: 700, count: count).text(values, width: width)
    }

    @Test func heights() {
        #expect(text([0, 1, 100, 101, 350, 699, 700, 9_999], 8) == "▁▂▂▃▅███")
        #expect(text([nil, 700, nil, 0], 6) == "   █ ▁")
        #expect(text([], 3) == "   ")
        #expect(text([1], 0) == "")
        let plain = Sparkline(heights: Sparkline.plain, maximum: 700, count: 8)
        #expect(plain.text([0, 100, 200, 300, 400, 500, 600, 700], width: 8) == "_.,-~=+#")
    }

    /// The newest at the right, each column the largest of its share.
    @Test func moreValuesThanColumns() {
        #expect(text([700, 0, 0, 0, 100, 0], 3, of: 6) == "█▁▂")
        #expect(text([700, 0, 0, 0, 0, 0, 0], 3, of: 7) == "█▁▁")
        #expect(text([0, nil, nil, nil, 0, 0], 3, of: 6) == "▁ ▁")
        // As long as there are few, they do not spread.
        #expect(text([700, 0, 0], 3, of: 6) == " █▁")
    }
}

@Suite struct TopScreenTests {
    /// Two readings with load, a partition that is behind, and one that nobody consumes.
    private func model() -> TopModel {
        var model = TopModel()
        for second in 0..<20 {
            let lags = [second * 10, second < 15 ? 0 : 150_000, 0]
            model.take(
                reading(
                    second, counted: [UInt64(second) * 4_000, 10, UInt64(second) * 500], lags: lags,
                    admitted: UInt64(second) * 9_000))
        }
        return model
    }

    private func screen(
        _ model: TopModel, _ width: Int, _ height: Int, _ view: TopView = TopView(),
        _ bars: [Character] = Sparkline.blocks
    ) -> [String] {
        var view = view
        let lines = TopScreen(width: width, height: height, bars: bars).lines(model, &view).map(\.text)
        #expect(lines.count <= height)
        #expect(lines.allSatisfy { $0.count <= width })
        return lines
    }

    @Test func eightyByTwentyFour() {
        let lines = screen(model(), 80, 24)
        #expect(lines.count == 24)
        #expect(
            lines.prefix(9) == [
                "tallymill  epoch 2, 3 partitions                                       22:13:39Z",
                "in 9.0 k/s  out 4.5 k/s  waiting 36 batches, 1.4 MiB, oldest 2 m 30 s",
                "",
                "PART   OUT/S  BATCHES      BYTES       LAG  LAG, LAST 60     COMMIT  CONSUMER",
                "   1       0       24    1.4 MiB  2 m 30 s          ▁▁▁█   19 s ago  nobody",
                "   0   4.0 k       12    1.9 KiB    190 ms          ▂▂▂▂   19 s ago  node-a:4710",
                "   2     500        0        0 B      0 ms          ▁▁▁▁   19 s ago  node-a:4712",
                "",
                "NODE              IN/S  UNPUSHED   HELD  STATE",
            ])
        #expect(lines[9] == "127.0.0.1:3333   9.0 k        17      4  ready")
        #expect(lines.last == "q quit  s sort by partition")
    }

    @Test func wideAndInASCII() {
        var view = TopView()
        view.order = .byNumber
        let lines = screen(model(), 200, 60, view, Sparkline.plain)
        #expect(lines.count == 60)
        #expect(lines[0].hasPrefix("tallymill  epoch 2, 3 partitions  cluster 0000000000000abc0000000000000def  "))
        #expect(lines[0].hasSuffix("  22:13:39Z") && lines[0].count == 200)
        let gap = String(repeating: " ", count: 40)
        #expect(
            lines[4]
                == "   0   4.0 k       12    1.9 KiB    190 ms  \(gap)_...................   19 s ago  node-a:4710")
        #expect(
            lines[5] == "   1       0       24    1.4 MiB  2 m 30 s  \(gap)_______________#####   19 s ago  nobody")
        #expect(lines.last == "q quit  s sort by lag")
    }

    @Test func fortyByTen() {
        var model = model()
        var last = reading(20, counted: [80_000, 10, 10_000], lags: [200, nil, 0], admitted: 180_000)
        last.problems = ["Redis did not answer within 1000 ms", "another", "third"]
        model.take(last)
        #expect(
            screen(model, 40, 10) == [
                "tallymill  epoch 2, 3 partitions",
                "in 9.0 k/s  out 4.5 k/s  waiting 12 batc",
                "PART   OUT/S  BATCHES       LAG  LAG WAS",
                "   1       0        -         -      ▁▁█",
                "   0   4.0 k       12    200 ms      ▂▂▂",
                "   2     500        0      0 ms      ▁▁▁",
                "NODE              IN/S   HELD  STATE",
                "127.0.0.1:3333   9.0 k      4  ready",
                "! Redis did not answer within 1000 ms, a",
                "q quit  s sort by partition",
            ])
    }

    @Test func scrolling() {
        let many = Topology(cluster: topology.cluster, epoch: 2, partitions: 64)
        var model = TopModel()
        model.take(reading(0, lags: (0..<64).map { $0 * 1_000 }, topology: many))
        var view = TopView()
        let screen = TopScreen(width: 100, height: 20)
        var lines = screen.lines(model, &view).map(\.text)
        #expect(view.pageRows == 13)
        #expect(lines[4].hasPrefix("  63") && lines[16].hasPrefix("  51"))
        #expect(lines.last == "q quit  s sort by partition  rows 1-13 of 64: arrows")
        view.scroll += view.pageRows
        lines = screen.lines(model, &view).map(\.text)
        #expect(lines[4].hasPrefix("  50"))
        view.scroll = 1_000
        lines = screen.lines(model, &view).map(\.text)
        #expect(view.scroll == 51 && lines[16].hasPrefix("   0"))
        #expect(lines.last == "q quit  s sort by partition  rows 52-64 of 64: arrows")
        view.scroll = -3
        lines = screen.lines(model, &view).map(\.text)
        #expect(view.scroll == 0)
        // A terminal of almost no size.
        for (width, height) in [(1, 1), (5, 2), (10, 4), (30, 7)] {
            var view = TopView()
            let lines = TopScreen(width: width, height: height).lines(model, &view)
            #expect(lines.count <= height && lines.allSatisfy { $0.text.count <= width })
        }
    }

    @Test func nothingIsKnown() {
        var model = TopModel()
        var reading = reading(0, topology: nil)
        reading.problems = [
            "cannot reach Redis at unix:///x: No such file or directory", "there is no cluster in /data",
        ]
        model.take(reading)
        #expect(
            screen(model, 80, 16).filter { !$0.isEmpty }
                == [
                    "tallymill                                                              22:13:20Z",
                    "in -/s  out -/s  waiting -",
                    "PART   OUT/S  BATCHES      BYTES       LAG  LAG, LAST 60        COMMIT  CONSUMER",
                    "no web node is known: --node names one",
                    "! cannot reach Redis at unix:///x: No such file or directory",
                    "! there is no cluster in /data",
                    "q quit  s sort by partition",
                ])
        #expect(
            model.text(bars: Sparkline.plain).split(separator: "\n").suffix(2) == [
                "! cannot reach Redis at unix:///x: No such file or directory", "! there is no cluster in /data",
            ])
    }
}

@Suite struct TopSamplerTests {
    /// Redis and shards as they are; Redis is killed and comes back.
    @Test func whatIsThere() throws {
        let cluster = try CountingCluster(on: try RedisServer())
        let node = try CountingNode(cluster, id: 1)
        for number in 0..<40 { try node.post(["k\(number)": 1]) }
        try cluster.consume()
        try node.post(["\(cluster.keys(in: 2)[0])": 1])
        let access = cluster.access
        let sampler = TopSampler(
            cluster.folder, access: { () throws(Failure) in access }, nodes: { ([], ["no node", "no node"]) })
        let first = sampler.read()
        #expect(first.topology == cluster.topology)
        #expect(first.partitions.map(\.batches) == [0, 0, 1, 0])
        #expect(first.partitions.compactMap(\.counted).reduce(0, +) == 40)
        #expect(first.partitions.allSatisfy { $0.lastCommitMilliseconds == 1_700_000_000_000 })
        #expect(first.partitions[0].lagMilliseconds == 0 && first.partitions[2].lagMilliseconds ?? 0 > 0)
        #expect(first.problems == ["no node"])

        cluster.server.kill()
        let second = sampler.read()
        #expect(second.partitions.count == 4 && second.partitions.allSatisfy { $0.batches == nil })
        #expect(second.partitions.compactMap(\.counted).reduce(0, +) == 40)
        #expect(second.problems.count == 2 && second.problems[0].contains("Redis"))
        let third = sampler.read()
        #expect(third.problems[0].hasPrefix("cannot reach Redis at"))
        try cluster.server.start()
        #expect(sampler.read().partitions.map(\.batches) == [0, 0, 1, 0])
    }

    @Test func whatIsNotThere() throws {
        let cluster = try CountingCluster()
        let (access, path) = (cluster.access, cluster.path(1))
        rename(path, path + ".away")
        try cluster.command("DEL", cluster.group(3).meta)
        let sampler = TopSampler(cluster.folder, access: { () throws(Failure) in access }, nodes: { ([], []) })
        let reading = sampler.read()
        #expect(
            reading.problems == [
                "partition 3 has no keys in Redis: `tallymill repair` makes them",
                "partition 1 has no shard in \(cluster.folder.path)",
            ])
        #expect(reading.partitions.map { $0.batches == nil } == [false, false, false, true])
        #expect(reading.partitions.map { $0.counted == nil } == [false, true, false, false])
        // Nobody has initialised this one; what Redis publishes is shown.
        let empty = TopSampler(
            DataFolder(cluster.folder.path + "/none"), access: { () throws(Failure) in access }, nodes: { ([], []) })
        #expect(empty.read().topology == cluster.topology)
        #expect(empty.read().problems.last == "partitions 0-3 have no shard in \(cluster.folder.path)/none")
    }
}
