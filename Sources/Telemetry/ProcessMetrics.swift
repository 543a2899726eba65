// What is told of every role: what runs, since when, and what it takes of the machine.

import Glibc
import ServiceKit
import TallyCore

/// The part of the pages that is the same for all roles.
struct ProcessMetrics: Sendable {
    private let role: String
    private let build: Build
    private let startedAt = WallClock.milliseconds()

    init(role: String, build: Build) {
        self.role = role
        self.build = build
    }

    func add(to page: inout MetricPage, isReady: Bool) {
        page.add(.buildInfo, [.init(.whole(1), build.version, build.commit, role)])
        page.add(.ready, .flag(isReady))
        page.add(.startTime, .seconds(milliseconds: UInt64(startedAt)))
        guard let facts = ProcessFacts() else { return }
        page.add(.processorTime, .fraction(facts.processorSeconds))
        page.add(.residentMemory, .whole(facts.residentBytes))
        page.add(.openFiles, .count(facts.openFiles))
        page.add(.openFilesMax, .whole(facts.openFilesMax))
    }

    func add(to object: inout JSONObject, obstacle: String?) {
        object.add("role", role)
        object.add("version", build.version)
        object.add("commit", build.commit)
        object.add("pid", getpid())
        object.add("started_ms", startedAt)
        object.add("ready", obstacle == nil)
        object.add("reason", obstacle)
    }
}

/// How fast a count grows between two looks.
struct Rate {
    private var last: (count: UInt64, at: UInt64)?
    /// A second; 0 before the second look.
    private(set) var perSecond = 0.0

    /// - Parameter nanoseconds: of the monotonic clock.
    mutating func update(_ count: UInt64, at nanoseconds: UInt64) {
        if let last, nanoseconds > last.at, count >= last.count {
            perSecond = Double(count - last.count) * 1e9 / Double(nanoseconds - last.at)
        }
        last = (count, nanoseconds)
    }
}
