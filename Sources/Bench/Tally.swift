// What one thread has seen: answers by status, fates, latencies, bytes, and the sums by key.

import Histogram

/// The figures of a thread, or of a run.
struct Tally: Sendable {
    /// Latencies are kept to three digits up to an hour, in microseconds.
    static let latencyMax: UInt64 = 3_600_000_000

    private(set) var sums: Sums
    /// Answers by status.
    private(set) var statuses = [Int](repeating: 0, count: 1_000)
    private(set) var acknowledged = 0
    private(set) var refused = 0
    private(set) var unknown = 0
    private(set) var increments = 0
    private(set) var unknownIncrements = 0
    /// Of acknowledged requests, from their intended time.
    private var latency = Histogram<UInt64>(highestTrackableValue: Tally.latencyMax)
    var bytesSent = 0
    var bytesReceived = 0
    /// Attempts to connect that failed.
    var failedConnections = 0
    /// Connections that ended before they were closed here.
    var lostConnections = 0
    /// Requests that were due and never sent.
    var unsent = 0
    /// From the start to the last answer.
    var elapsedNanoseconds: UInt64 = 0

    init(keys: Int) {
        sums = Sums(keys: keys)
    }

    /// What a status says about the increments of its request.
    static func fate(ofStatus status: Int) -> Fate {
        switch status {
        case 200, 202: .acknowledged
        case 503, 400..<500: .refused
        default: .unknown
        }
    }

    /// A request was answered.
    mutating func answered(
        _ status: Int, _ increments: UnsafeMutableBufferPointer<PendingIncrement>, latencyNanoseconds: UInt64
    ) {
        statuses[status] += 1
        let fate = Self.fate(ofStatus: status)
        count(increments, fate)
        if fate == .acknowledged { latency.record(min(latencyNanoseconds / 1_000, Self.latencyMax)) }
    }

    /// The connection was lost, or the answer cannot be read.
    mutating func lost(_ increments: UnsafeMutableBufferPointer<PendingIncrement>) {
        count(increments, .unknown)
    }

    private mutating func count(_ increments: UnsafeMutableBufferPointer<PendingIncrement>, _ fate: Fate) {
        sums.add(increments, fate)
        switch fate {
        case .acknowledged:
            acknowledged += 1
            self.increments += increments.count
        case .refused: refused += 1
        case .unknown:
            unknown += 1
            unknownIncrements += increments.count
        }
    }

    /// The latency that so many percent of acknowledged requests did not exceed; 0 without any.
    func latencyMicroseconds(percent: Double) -> UInt64 { latency.valueAtPercentile(percent) }

    /// Requests that were sent and have ended.
    var requests: Int { acknowledged + refused + unknown }

    /// Adds another thread of the same load.
    mutating func add(_ other: Tally) {
        sums.add(other.sums)
        for status in statuses.indices { statuses[status] += other.statuses[status] }
        acknowledged += other.acknowledged
        refused += other.refused
        unknown += other.unknown
        increments += other.increments
        unknownIncrements += other.unknownIncrements
        latency.add(other.latency)
        bytesSent += other.bytesSent
        bytesReceived += other.bytesReceived
        failedConnections += other.failedConnections
        lostConnections += other.lostConnections
        unsent += other.unsent
        elapsedNanoseconds = max(elapsedNanoseconds, other.elapsedNanoseconds)
    }
}
