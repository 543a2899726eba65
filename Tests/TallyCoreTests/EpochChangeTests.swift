// The order of a change of epoch, and what a resumed one begins with.

import TallyCore
import Testing

@Suite struct EpochChangeTests {
    typealias Fixture = CoreFixture

    static let ready = ClusterFile(
        topology: Topology(cluster: Fixture.cluster, epoch: 4, partitions: 2), state: .ready,
        earlier: [.init(epoch: 3, partitions: 1)])

    static func file(_ state: ClusterFile.State, partitions: Int = 3) -> ClusterFile {
        ClusterFile(
            topology: Topology(cluster: Fixture.cluster, epoch: 5, partitions: partitions), state: state,
            earlier: [.init(epoch: 3, partitions: 1), .init(epoch: 4, partitions: 2)])
    }

    static let publishing: [EpochChange.Step] = [
        .create(Fixture.partition(5, 0)), .create(Fixture.partition(5, 1)), .create(Fixture.partition(5, 2)),
        .publish(file(.ready).topology),
    ]

    static let rest: [EpochChange.Step] =
        publishing + [
            .seal(Fixture.partition(4, 0)), .seal(Fixture.partition(4, 1)), .drain(Fixture.partition(4, 0)),
            .drain(Fixture.partition(4, 1)), .build, .place, .ready(file(.ready)),
        ] + publishing + [
            .collect(Fixture.partition(3, 0)), .collect(Fixture.partition(4, 0)), .collect(Fixture.partition(4, 1)),
        ]

    static func steps(_ change: EpochChange) -> [EpochChange.Step] {
        var change = change
        var steps: [EpochChange.Step] = []
        while let step = change.next {
            steps.append(step)
            change.done(step)
        }
        return steps
    }

    @Test func aChangeIsOnDiskBeforeRedisHearsOfIt() {
        let change = EpochChange(from: Self.ready, to: 3, id: nil)
        #expect(change.building == Self.file(.building))
        #expect(Self.steps(change) == [.open(Self.file(.building))] + Self.rest)
    }

    @Test func aResumedChangeDoesEverythingAgain() {
        #expect(Self.steps(EpochChange(resuming: Self.file(.building))) == Self.rest)
    }

    @Test func theCountMayStay() {
        let change = EpochChange(from: Self.ready, to: 2, id: nil)
        #expect(change.building == Self.file(.building, partitions: 2))
        #expect(Self.steps(change).count == 1 + 3 + 2 + 2 + 3 + 3 + 3)
    }

    @Test func anImportMayBeLeftOutAfterTheDrain() {
        let id = Bytes16(high: 1, low: 2)
        var file = Self.ready
        file.imports = [Bytes16(high: 7, low: 7)]
        var change = EpochChange(from: file, to: 3, id: nil, importing: id)
        while let step = change.next, step != .build { change.done(step) }
        #expect(change.building.importing == id)
        change.leaveOutImport()
        #expect(change.building.importing == nil && change.building.state == .building)
        for step in [EpochChange.Step.build, .place] { change.done(step) }
        guard case .ready(let ready) = change.next else {
            Issue.record("\(String(describing: change.next))")
            return
        }
        #expect(ready.imports == file.imports && ready.importing == nil && ready.state == .ready)
    }

    @Test func publishingIsWhatRedisHasToShow() {
        #expect(EpochChange.publishing(Self.file(.ready).topology) == Self.publishing)
    }

    /// Golden: the rule is in files and in Redis. The numbers come from an implementation of XXH64 in another language.
    @Test(
        arguments: [
            ("00112233445566778899aabbccddeeff", 2, 0, "3c0bc4ec8d8b4daa2069a0a0624cdf0d"),
            ("00112233445566778899aabbccddeeff", 3, 7, "8be1c48d0937a6462550e101e12e9a1b"),
            ("ffffffffffffffffffffffffffffffff", .max, 1023, "c3422d4bfa1c283f133f8399023b6b79"),
        ] as [(String, UInt32, UInt32, String)])
    func derivedIdentities(cluster: String, epoch: UInt32, number: UInt32, expected: String) throws {
        let id = try #require(ClusterID(cluster))
        #expect(ShardUUID(derivedFor: Fixture.partition(epoch, number), of: id).description == expected)
    }

    @Test func derivedIdentitiesDiffer() {
        var seen: Set<ShardUUID> = []
        for cluster in [Fixture.cluster, ClusterID(Bytes16(high: 0, low: 0))] {
            for epoch in 1...9 as ClosedRange<UInt32> {
                for number in 0..<64 as Range<UInt32> {
                    seen.insert(ShardUUID(derivedFor: Fixture.partition(epoch, number), of: cluster))
                }
            }
        }
        #expect(seen.count == 2 * 9 * 64)
    }
}
