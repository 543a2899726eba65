// The bounds of memory, added up, against the machine's.

import ServiceKit
import Testing

@testable import Operations

@Suite struct MemoryNeedTests {
    private func warnings(_ environment: [String: String], machine: Int) throws -> [String] {
        let settings = try Settings.load(command: .config, flags: [:], environment: environment)
        return MemoryNeed(settings).warnings(machineBytes: machine)
    }

    @Test func theDefaultsFitASmallMachine() throws {
        #expect(try warnings([:], machine: 2 << 30) == [])
    }

    @Test func whatOneNodeMayHold() throws {
        let found = try warnings(["TALLYMILL_OUTBOX_BYTES": "3GiB"], machine: 2 << 30)
        #expect(
            found == [
                "a web node may hold 3.2 GiB: --outbox-bytes 3.0 GiB, --request-memory-bytes 128.0 MiB, and for 20000"
                    + " connections (--max-connections) 39.1 MiB; this machine has 2.0 GiB"
            ])
    }

    @Test func whatListsMayHold() throws {
        let found = try warnings(["TALLYMILL_PARTITIONS": "16"], machine: (4 << 30) - 1)
        #expect(
            found == [
                "Redis may have to hold 4.0 GiB: 16 partitions of --queue-bytes 256.0 MiB; this machine has 4.0 GiB, if"
                    + " it runs here"
            ])
    }

    @Test func whatBothMayHold() throws {
        let need = ((256 + 128 + 1_024) << 20) + (20_000 << 11)
        #expect(try warnings([:], machine: need) == [])
        #expect(try warnings([:], machine: need - 1).count == 1)
    }
}
