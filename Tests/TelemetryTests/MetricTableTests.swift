// The table of metrics keeps to Prometheus' conventions, and the README's table shows all of it.

import Glibc
import ServiceKit
import Testing

@testable import Telemetry

@Suite struct MetricTableTests {
    private let root = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    private let all = Metric.ofBoth + Metric.ofNode + Metric.ofConsumer

    @Test func namesSayKindAndUnit() {
        #expect(Set(all.map(\.name)).count == all.count)
        for metric in all {
            #expect(metric.name.hasPrefix("tallymill_") || metric.name.hasPrefix("process_"), "\(metric.name)")
            #expect((metric.kind == .counter) == metric.name.hasSuffix("_total"), "\(metric.name)")
            if metric.kind == .histogram { #expect(metric.name.hasSuffix("_seconds"), "\(metric.name)") }
            #expect(!metric.help.isEmpty && metric.help.last != ".", "\(metric.name)")
            // A label whose values grow with the users' data would fill Prometheus.
            #expect(Set(metric.labels).isSubset(of: ["partition", "level", "reason", "version", "commit", "role"]))
        }
    }

    @Test func theReadmeShowsThemAll() throws {
        let readme = try text(of: root + "/README.md")
        for metric in all {
            let labels = metric.labels.isEmpty ? "" : "{\(metric.labels.joined(separator: ","))}"
            let row = "| `\(metric.name)\(labels)` | \(metric.kind.rawValue) | \(metric.help) |"
            #expect(readme.contains(row), "missing in the README: \(row)")
        }
        let shown = readme.split(separator: "\n").count { line in
            ["tallymill_", "process_"].contains { line.hasPrefix("| `\($0)") }
        }
        #expect(shown == all.count)
    }

    /// An alert on a name that does not exist would never fire.
    @Test(arguments: ["prometheus/tallymill-alerts.yml", "grafana/tallymill.json"])
    func theSamplesUseNoOtherNames(file: String) throws {
        let known = Set(
            all.flatMap { metric in [metric.name] + ["_bucket", "_sum", "_count"].map { metric.name + $0 } })
        let words = try text(of: root + "/deploy/" + file).split { !($0.isASCII && ($0.isLetter || $0 == "_")) }
        let used = words.filter { $0.hasPrefix("tallymill_") || $0.hasPrefix("process_") }
        #expect(!used.isEmpty)
        for name in used { #expect(known.contains(String(name)), "\(name)") }
    }

    private func text(of path: String) throws -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            if count <= 0 { break }
            bytes += chunk[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
