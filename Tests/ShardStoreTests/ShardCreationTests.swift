// A shard file comes into being once and whole, and is opened by the one process that it belongs to.

import Glibc
import ShardStore
import TallyCore
import Testing

@Suite struct ShardCreationTests {
    let folder = Folder()

    @Test func neverOverAnExistingFile() throws {
        try ShardFile.createSample(folder.shard)
        let error = #expect(throws: StoreError.self) { try ShardFile.createSample(folder.shard) }
        #expect(error?.code == .exists)
        #expect(error?.exitCode == 78)
        #expect(
            error?.description
                == "\(folder.shard): there is a file already; move it away if it is not needed")
    }

    @Test func leftoversOfAnInterruptedCreationAreReplaced() throws {
        _ = folder.write([1, 2, 3], to: "shard.sqlite.new")
        _ = folder.write([1, 2, 3], to: "shard.sqlite.new-journal")
        try ShardFile.createSample(folder.shard)
        #expect(size(folder.shard + ".new") == -1)
        #expect(size(folder.shard + ".new-journal") == -1)
        // Interrupted between the two names.
        #expect(link(folder.shard, folder.shard + ".new") == 0)
        let shard = try ShardFile.openSample(folder.shard)
        #expect(size(folder.shard + ".new") == -1)
        #expect(try shard.statistics().keys == 0)
    }

    @Test func aLogWithoutItsFileIsNotPlayedIntoANewOne() throws {
        _ = folder.write([1, 2, 3], to: "shard.sqlite-wal")
        let error = #expect(throws: StoreError.self) { try ShardFile.createSample(folder.shard) }
        #expect(
            error?.description
                == "\(folder.shard): there is a log of an earlier file, \(folder.shard)-wal; move it away")
        #expect(size(folder.shard) == -1)
    }

    @Test func aMissingFolderIsNamed() {
        let error = #expect(throws: StoreError.self) { try ShardFile.createSample(folder.path + "/none/a.sqlite") }
        #expect(error?.code == .missing)
    }

    @Test func aMissingFileIsNamed() {
        let error = #expect(throws: StoreError.self) { try ShardFile.openSample(folder.shard) }
        #expect(error?.code == .missing)
        #expect(error?.exitCode == 78)
        #expect(
            error?.description == """
                \(folder.shard): cannot open it: No such file or directory; check the data folder, or restore the file \
                from a backup
                """)
        #expect(size(folder.shard + ".lock") == -1)
    }

    @Test func identitySurvives() throws {
        let shard = try ShardFile.sample(in: folder)
        #expect(shard.identity == .sample)
        #expect(try ShardReader(at: folder.shard).identity == .sample)
    }

    @Test func pathsMayHoldAnything() throws {
        let path = folder.path + "/a?b#c%41 d.sqlite"
        try ShardFile.createSample(path)
        #expect(try ShardFile.openSample(path).identity == .sample)
        #expect(size(path) > 0)
    }

    @Test func anotherProcessIsNamed() throws {
        try ShardFile.createSample(folder.shard)
        let child = Child.probe(["hold", folder.shard])
        #expect(child.readLine() == "open")
        let error = #expect(throws: StoreError.self) { try ShardFile.openSample(folder.shard) }
        #expect(error?.code == .locked)
        #expect(error?.exitCode == 75)
        #expect(error?.holder == child.processNumber)
        #expect(
            error?.description
                == "\(folder.shard): it is in use by process \(child.processNumber); stop that process first")
        #expect(child.finish().result == 0)
        _ = try ShardFile.openSample(folder.shard)
    }

    @Test func aKilledProcessLocksNobodyOut() throws {
        try ShardFile.createSample(folder.shard)
        let child = Child.probe(["hold", folder.shard])
        #expect(child.readLine() == "open")
        child.kill()
        _ = try ShardFile.openSample(folder.shard)
    }

    @Test func oneWriterInOneProcess() throws {
        let shard = try ShardFile.sample(in: folder)
        let error = #expect(throws: StoreError.self) { try ShardFile.openSample(folder.shard) }
        #expect(error?.holder == getpid())
        #expect(shard.path == folder.shard)
    }
}
