// How many pushes a second one producer gets through a Redis that fsyncs every write: a figure for people, not a test.
//
//     TALLYMILL_MEASURE=1 swift test -c release -Xswiftc -enable-testing --filter Throughput

import Glibc
import RedisQueue
import TallyCore
import TestSupport
import Testing

@Suite struct ThroughputMeasurement {
    @Test(
        .enabled(if: getenv("TALLYMILL_MEASURE") != nil),
        arguments: [(1_024, 1), (1_024, 8), (1_024, 64), (65_536, 1), (65_536, 8), (65_536, 64)])
    func pushes(bytes: Int, depth: Int) throws {
        let server = try RedisServer()
        let scene = try Scene(on: server, creates: false)
        let partitions = (0..<UInt32(depth)).map { PartitionID(epoch: 1, number: $0) }
        for partition in partitions { #expect(try scene.keys.create(partition, shard: Scene.shard) == .created) }
        let streams = partitions.map { Stream($0, bytes: bytes) }
        let rounds = max(8, min(2_000, (256 << 20) / (bytes * depth)) / (depth == 1 ? 1 : 2))
        let flights = (1...UInt64(rounds)).map { sequence in
            streams.map { QueueCommand.push($0[sequence], floor: 0, limitBytes: 1 << 40, topology: .ofTests) }
        }
        let start = ContinuousClock.now
        for flight in flights {
            #expect(scene.producer.deliver(flight).answers.allSatisfy { $0 == .push(.ok(applied: 0)) })
        }
        let seconds = start.duration(to: .now) / .seconds(1)
        let perSecond = Double(rounds * depth) / seconds
        let flight = seconds / Double(rounds) * 1_000
        print(
            "\(bytes) bytes, \(depth) a flight: \(Int(perSecond)) pushes/s, "
                + "\(Int(perSecond * Double(bytes)) >> 20) MiB/s, \(Int(flight * 1000)) us a flight")
    }
}
