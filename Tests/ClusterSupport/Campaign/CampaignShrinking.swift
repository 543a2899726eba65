// A failing sequence, cut down: halves, quarters, at last single steps are left out, and what still fails is kept.
// Timing differs from run to run, so a step stays unless the rest has been seen to fail without it.

/// The shortest sequence that was seen to fail.
public struct CampaignShrinking {
    /// Runs at most.
    private var runsLeft: Int
    private let watch = Stopwatch()
    private let seconds: Double
    private let failure: (CampaignSequence) throws(HarnessError) -> CampaignFailure?

    /// - Parameter failure: runs a sequence; nil if it holds.
    public init(
        runs: Int, seconds: Double, failure: @escaping (CampaignSequence) throws(HarnessError) -> CampaignFailure?
    ) {
        runsLeft = runs
        self.seconds = seconds
        self.failure = failure
    }

    /// - Parameter first: how the whole of it failed.
    public mutating func shortest(
        of whole: CampaignSequence, failing first: CampaignFailure
    ) throws(HarnessError) -> (sequence: CampaignSequence, failure: CampaignFailure) {
        var best = (sequence: whole, failure: first)
        var size = max(1, whole.steps.count / 2)
        while true {
            var start = 0
            var hasChanged = false
            while start < best.sequence.steps.count {
                guard runsLeft > 0, watch.seconds < seconds else { return best }
                runsLeft -= 1
                var shorter = best.sequence
                shorter.steps.removeSubrange(start..<min(start + size, shorter.steps.count))
                if let failure = try failure(shorter), failure.kind == first.kind {
                    best = (shorter, failure)
                    hasChanged = true
                } else {
                    start += size
                }
            }
            if size == 1, !hasChanged { return best }
            size = max(1, size / 2)
        }
    }
}
