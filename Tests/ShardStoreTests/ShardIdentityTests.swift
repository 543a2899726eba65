// A sound file in the wrong place is refused before anything is written, and the message says which field differs and
// what to do.

import ShardStore
import TallyCore
import Testing

@Suite struct ShardIdentityTests {
    let folder = Folder()
    let sample = ShardIdentity.sample

    private func refusal(_ expected: ShardExpectation) throws -> String {
        if !folder.exists { try ShardFile.createSample(folder.shard) }
        let error = #expect(throws: StoreError.self) { try ShardFile.open(at: folder.shard, expecting: expected) }
        #expect(error?.code == .mismatch)
        #expect(error?.exitCode == 78)
        let reader = #expect(throws: StoreError.self) { try ShardReader(at: folder.shard, expecting: expected) }
        #expect(reader == error)
        return error?.description ?? ""
    }

    @Test func messagesArePinned() throws {
        let other = ClusterID(Bytes16(high: 0xC1, low: 9))
        let folderRemedy = "check the data folder: each file belongs where its name says"
        func expecting(
            cluster: ClusterID? = nil, epoch: UInt32 = 3, partition: UInt32 = 5, partitions: Int = 8,
            uuid: ShardUUID? = nil
        ) -> ShardExpectation {
            ShardExpectation(
                cluster: cluster ?? sample.cluster, partition: PartitionID(epoch: epoch, number: partition),
                partitions: partitions, uuid: uuid)
        }
        #expect(
            try refusal(expecting(cluster: other)) == """
                \(folder.shard): its cluster is 00000000000000c10000000000000001, expected \
                00000000000000c10000000000000009; the file is of another cluster: check the data folder
                """)
        #expect(try refusal(expecting(epoch: 4)) == "\(folder.shard): its epoch is 3, expected 4; \(folderRemedy)")
        #expect(
            try refusal(expecting(partition: 6)) == "\(folder.shard): its partition is 5, expected 6; \(folderRemedy)")
        #expect(
            try refusal(expecting(partitions: 9)) == "\(folder.shard): its partitions is 8, expected 9; \(folderRemedy)"
        )
        #expect(
            try refusal(expecting(uuid: ShardUUID(Bytes16(high: 0, low: 1)))) == """
                \(folder.shard): its uuid is 000000000000000a0000000000000002, expected \
                00000000000000000000000000000001; another copy of this shard is in use: put that one back, or run \
                repair if this one is to stay
                """)
        _ = try ShardFile.open(at: folder.shard, expecting: expecting())
    }

    @Test(arguments: [
        (
            "PRAGMA application_id = 5",
            "its application_id is 5, expected 1414361960; this is not a Tallymill shard: check the path"
        ),
        ("PRAGMA user_version = 4", "its format version is 4, expected 3; upgrade tallymill"),
        ("PRAGMA user_version = 0", "its format version is 0, expected 3; use the release that made the file"),
        (
            "UPDATE meta SET value = 'xxh64-jump-2' WHERE name = 'hash'",
            "its hash version is xxh64-jump-2, expected xxh64-jump-1; use the release that made the file"
        ),
    ])
    func otherFormatsAreRefused(change: String, message: String) throws {
        try ShardFile.createSample(folder.shard)
        Child.run("/usr/bin/sqlite3", [folder.shard, change])
        let error = #expect(throws: StoreError.self) { try ShardFile.openSample(folder.shard) }
        #expect(error?.code == .mismatch)
        #expect(error?.description == "\(folder.shard): \(message)")
    }

    @Test(arguments: [
        ("DELETE FROM meta WHERE name = 'epoch'", "its table meta has no epoch"),
        ("UPDATE meta SET value = 'x' WHERE name = 'cluster'", "its table meta says cluster is 'x'"),
        ("UPDATE meta SET value = '8' WHERE name = 'partition'", "its table meta says partition 8 of 8"),
        ("UPDATE meta SET value = 'closed' WHERE name = 'state'", "its table meta says state is 'closed'"),
    ])
    func impossibleMetaIsCorrupt(change: String, message: String) throws {
        try ShardFile.createSample(folder.shard)
        Child.run("/usr/bin/sqlite3", [folder.shard, change])
        let error = #expect(throws: StoreError.self) { try ShardReader(at: folder.shard) }
        #expect(error?.code == .corrupt)
        #expect(error?.exitCode == 65)
        #expect(error?.cause == message)
    }
}
