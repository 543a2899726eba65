public import TallyCore

extension ClusterID {
    /// Whose the key groups of a test are that has no cluster file.
    public static let ofTests = ClusterID(Bytes16(high: 1, low: 1))
}
