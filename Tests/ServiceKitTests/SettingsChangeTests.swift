// Which settings differ between two readings, and which of them a running role takes.

import Testing

@testable import ServiceKit

@Suite struct SettingsChangeTests {
    private func settings(_ environment: [String: String]) throws -> Settings {
        try Settings.resolve(command: .web, flags: [:], environment: environment, file: nil)
    }

    @Test func whatDiffersIsNamed() throws {
        let before = try settings(["TALLYMILL_OUTBOX_BYTES": "2MiB", "TALLYMILL_LISTEN": "127.0.0.1:1"])
        let after = try settings(["TALLYMILL_LISTEN": "127.0.0.1:2", "TALLYMILL_PARTITIONS": "9"])
        #expect(before.changes(in: after, of: .web) == [.listen, .outboxBytes])
        #expect(before.changes(in: after, of: .consume).isEmpty)
        #expect(before.changes(in: before, of: .web).isEmpty)
    }

    @Test func theSettingsThatARunningRoleTakes() {
        #expect(
            Setting.table.filter(\.isReloadable).map(\.name) == [
                "log-level", "idempotency-retention", "outbox-bytes", "queue-bytes",
            ])
    }

    @Test func everySettingIsShownOnce() throws {
        let entries = try settings(["TALLYMILL_REDIS": "redis://u:secret@h"]).entries
        #expect(entries.map(\.setting) == Setting.table)
        #expect(entries.first?.shownText == "redis://u:***@h")
        #expect(entries.first?.origin == .environment)
    }

    @Test func hosts() {
        for host in ["localhost", "127.0.0.1", "::1", "fe80::1%eth0", "a-b.example"] {
            #expect(SettingKind.host.parse(host) == .text(host))
        }
        for host in ["", "a b", "[::1]", "127.0.0.1:80", "a/b", "ü"] { #expect(SettingKind.host.parse(host) == nil) }
    }
}
