// The oracle: what was asked with which fate, and whether a report agrees, increment by increment.
//
// A sum alone would let a loss and a duplicate cancel. So each request carries **tracers**: its own power of four on
// a key that only its writer uses. A digit of that key's sum, in base 4, then says how often that one increment was
// applied: acknowledged must be 1, refused 0, unknown 0 or 1. A key holds 31 digits (4^31 < 2^63), then a new one
// begins. Beside them, **bulk** increments of positive deltas on shared keys must lie between the acknowledged sum
// and that plus the unknown one. A key that nobody may have counted must not exist.
//
// Some losses are documented: of an older copy of the files, of a Redis that went back while a node was dead. From
// then on what they may have cost is `exposed`, request by request: applied once or not at all, and counted.

/// What a client knows about its request.
public enum Fate: Hashable, Sendable {
    case acknowledged
    case refused
    /// The connection was lost, or the answer promised no more than the node's memory.
    case unknown
    /// Acknowledged, and after that something happened whose loss is documented, and which tools must name.
    case exposed
    /// As `exposed`, but nothing is left that could name it.
    case forgotten
}

/// The increments of one request.
public struct Posting: Hashable, Sendable {
    public struct Increment: Hashable, Sendable {
        public let key: String
        public let delta: Int64

        public init(_ key: String, _ delta: Int64) {
            self.key = key
            self.delta = delta
        }
    }

    /// The power of four of each tracer of the request.
    public var digit = 0
    public var tracerKeys: [String] = []
    public var bulk: [Increment] = []

    public init() {}

    /// All increments, tracers first.
    public var increments: [Increment] {
        tracerKeys.map { Increment($0, Int64(1) << (2 * Int64(digit))) } + bulk
    }
}

/// Where a report differs from what was asked.
public struct Discrepancy: Hashable, Sendable, CustomStringConvertible {
    public let description: String
    /// Whether it may still be under way: something that is missing may come, what is too much stays.
    public let mayHeal: Bool
}

/// Every request's fate.
public struct Ledger: Sendable {
    public static let digitsOfKey = 31

    private struct Bulk {
        var acknowledged: Int128 = 0
        var unknown: Int128 = 0
    }

    private struct Tracer: CustomStringConvertible {
        var fate: Fate
        /// Which node acknowledged it.
        let source: UInt16?

        var description: String { "\(fate)" + (source.map { " by the node at \($0)" } ?? "") }
    }

    private var tracers: [String: [Tracer?]] = [:]
    private var bulk: [String: Bulk] = [:]
    /// Requests by fate.
    public private(set) var requests: [Fate: Int] = [:]
    /// Increments by fate.
    public private(set) var increments: [Fate: Int] = [:]

    public init() {}

    /// - Parameter source: which start of which node acknowledged it, by its port.
    public mutating func record(_ posting: Posting, _ fate: Fate, by source: UInt16? = nil) {
        requests[fate, default: 0] += 1
        increments[fate, default: 0] += posting.tracerKeys.count + posting.bulk.count
        for key in posting.tracerKeys {
            let before = tracers[key, default: Array(repeating: nil, count: Ledger.digitsOfKey)][posting.digit]
            precondition(before == nil, "a digit belongs to one request")
            tracers[key, default: Array(repeating: nil, count: Ledger.digitsOfKey)][posting.digit] = Tracer(
                fate: fate, source: source)
        }
        for increment in posting.bulk {
            precondition(increment.delta > 0, "bulk deltas are positive, or a sum would say nothing")
            switch fate {
            case .acknowledged: bulk[increment.key, default: Bulk()].acknowledged += Int128(increment.delta)
            case .unknown: bulk[increment.key, default: Bulk()].unknown += Int128(increment.delta)
            case .refused, .exposed, .forgotten: break
            }
        }
    }

    /// What was acknowledged and is not in `safe` may be lost from now on.
    ///
    /// - Parameters:
    ///   - fate: `exposed`, or `forgotten`, which what was exposed may become, too.
    ///   - sources: only what these acknowledged; nil for all.
    ///   - place: only what is in these sums; nil for all.
    ///   - safe: sums that stay.
    /// - Returns: how many increments that concerns.
    @discardableResult
    public mutating func expose(
        as fate: Fate = .exposed, by sources: Set<UInt16>? = nil, in place: [String: Int64]? = nil,
        except safe: [String: Int64]
    ) -> Int {
        precondition(bulk.isEmpty, "whether a bulk increment is lost cannot be told from a sum")
        var exposed = 0
        for (key, digits) in tracers {
            for (digit, tracer) in digits.enumerated() {
                let isOpen = tracer?.fate == .acknowledged || fate == .forgotten && tracer?.fate == .exposed
                guard isOpen else { continue }
                if let sources, !(tracer?.source.map { sources.contains($0) } ?? false) { continue }
                if let place, Self.times(digit, in: place[key]) == 0 { continue }
                guard Self.times(digit, in: safe[key]) == 0 else { continue }
                tracers[key]?[digit]?.fate = fate
                exposed += 1
            }
        }
        return exposed
    }

    /// The loss was averted: what was exposed must be counted again.
    public mutating func unexpose() {
        for (key, digits) in tracers {
            for (digit, tracer) in digits.enumerated() where tracer?.fate == .exposed {
                tracers[key]?[digit]?.fate = .acknowledged
            }
        }
    }

    /// Tracers of that fate that are not in `counters`.
    ///
    /// - Parameter sources: only what these acknowledged; nil for all.
    public func missing(_ fate: Fate, by sources: Set<UInt16>? = nil, in counters: [String: Int64]) -> Int {
        tracers.reduce(0) { sum, entry in
            sum
                + entry.value.enumerated().count { digit, tracer in
                    if let sources, !(tracer?.source.map { sources.contains($0) } ?? false) { return false }
                    return tracer?.fate == fate && Self.times(digit, in: counters[entry.key]) == 0
                }
        }
    }

    /// Whether `newer` has every tracer that `older` has.
    public static func isWhole(_ newer: [String: Int64], of older: [String: Int64]) -> Bool {
        older.allSatisfy { key, value in
            (0..<digitsOfKey).allSatisfy { times($0, in: newer[key]) >= times($0, in: value) }
        }
    }

    private static func times(_ digit: Int, in value: Int64?) -> Int64 { (value ?? 0) >> (2 * Int64(digit)) & 3 }

    /// Compares a complete report with everything recorded.
    public func discrepancies(in report: Report) -> [Discrepancy] {
        var found = discrepancies(in: report.counters)
        if report.total != report.sum || report.keys != report.counters.count || report.isPartial {
            found.append(
                Discrepancy(
                    description: "the report contradicts itself: total \(report.total) and keys \(report.keys), but "
                        + "its \(report.counters.count) counters sum to \(report.sum); partial \(report.isPartial)",
                    mayHeal: false))
        }
        return found
    }

    /// Compares sums by key with everything recorded.
    public func discrepancies(in counters: [String: Int64]) -> [Discrepancy] {
        var found: [Discrepancy] = []
        for (key, digits) in tracers { found += Self.check(key, digits, counters[key]) }
        for (key, bulk) in bulk {
            let value = Int128(counters[key] ?? 0)
            if value < bulk.acknowledged || value > bulk.acknowledged + bulk.unknown {
                let text = "\(key): \(value), but \(bulk.acknowledged) acknowledged and \(bulk.unknown) unknown"
                found.append(Discrepancy(description: text, mayHeal: value < bulk.acknowledged))
            }
        }
        for (key, value) in counters where tracers[key] == nil && bulk[key] == nil {
            let text = "\(key): \(value), but nothing on this key was ever sent, or all of it was refused"
            found.append(Discrepancy(description: text, mayHeal: false))
        }
        return found.sorted { !$0.mayHeal && $1.mayHeal }
    }

    private static func check(_ key: String, _ tracers: [Tracer?], _ value: Int64?) -> [Discrepancy] {
        guard var rest = value else {
            return tracers.enumerated().compactMap { digit, tracer in
                guard let tracer, tracer.fate == .acknowledged else { return nil }
                return Discrepancy(description: "\(key), digit \(digit): \(tracer), but lost", mayHeal: true)
            }
        }
        var found: [Discrepancy] = []
        for (digit, tracer) in tracers.enumerated() {
            let fate = tracer?.fate
            let times = rest & 3
            rest >>= 2
            switch (fate, times) {
            case (.acknowledged, 1), (.refused, 0), (nil, 0): continue
            case (.unknown, 0...1), (.exposed, 0...1), (.forgotten, 0...1): continue
            default: break
            }
            let word = tracer.map { "\($0)" } ?? "never sent"
            found.append(
                Discrepancy(
                    description: "\(key), digit \(digit): \(word), but applied \(times) times (sum \(value ?? 0))",
                    mayHeal: fate == .acknowledged && times == 0))
        }
        if rest != 0 {
            found.append(Discrepancy(description: "\(key): more than 31 digits (\(value ?? 0))", mayHeal: false))
        }
        return found
    }
}
