// What the cluster file says about an interrupted change: of a first epoch, `init` has to be run again; of a later one,
// a rebalance has to be resumed.

public import TallyCore

extension ClusterFile {
    /// Whether a change of epoch was begun and has not ended.
    public var isUnfinished: Bool { state == .building && !earlier.isEmpty }
}
