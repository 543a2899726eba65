public import TallyCore

extension ClusterID {
    /// Whose the key groups of a test are that has no cluster file.
    public static let ofTests = ClusterID(Bytes16(high: 1, low: 1))
}

extension Topology {
    /// The same.
    public static let ofTests = Topology(cluster: .ofTests, epoch: 1, partitions: 2)

    /// As a key group keeps it.
    public var ownerText: String { "\(cluster)/\(partitions)" }
}
