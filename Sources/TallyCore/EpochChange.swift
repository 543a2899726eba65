// A change of epoch: which step follows which, when the shard count changes or an import brings new shards.
//
// A state machine without I/O. Its shell, the rebalance or the simulator's tool, performs `next` and says `done`. The
// order is PROTOCOL.md's: the cluster file says `building` before Redis is touched, the old lists are sealed before
// they are drained, nothing is built from a file that may still change, and the new files are in place before the
// cluster file says `ready`, which commits the change. Killed between any two steps, a change is resumed from the
// cluster file alone, from the top; so every step must be harmless when it was done before.
//
//   open ──> create... ──> publish ──> seal... ──> drain... ──> build ──> place ──> ready ──> create... ──> publish
//            ^ a resumed change                                                                ──> collect... ──> nil
//            └ begins here

/// One change of epoch, from its first step to its last.
public struct EpochChange: Hashable, Sendable {
    public enum Step: Hashable, Sendable {
        /// Replace the cluster file by this one, durably: from now on the change can only be resumed.
        case open(ClusterFile)
        /// Create the key group, unless there is one.
        case create(PartitionID)
        /// Publish the topology, unless a newer one is there.
        case publish(Topology)
        /// Seal the key group, if there is one: nodes learn that they have to move.
        case seal(PartitionID)
        /// Apply and trim the list until one peek shows it sealed and empty, or gone; then retire its file. Nothing
        /// if the file is retired.
        case drain(PartitionID)
        /// Write and verify the new shards in the staging folder, from nothing. Nothing if they are in place.
        case build
        /// Rename the staging folder, durably and never over an existing one. Nothing if the shards are in place.
        case place
        /// Replace the cluster file by this one, durably: the commit point.
        case ready(ClusterFile)
        /// Delete the key group of an earlier epoch, if it is sealed and empty. May be left out.
        case collect(PartitionID)
    }

    /// The cluster file of the new epoch, while its shards are being made.
    public private(set) var building: ClusterFile
    /// What is left, the next step last.
    private var steps: [Step]

    /// A change that has not begun: from a `ready` cluster file to `partitions` partitions, which may be as many as
    /// before.
    ///
    /// - Parameters:
    ///   - id: a random one: the epoch may have been opened before, and everything been put back since. nil as an
    ///     earlier release begins it.
    ///   - importing: what is loaded with it.
    ///   - noted: the newest epoch that a node has seen, 0 if none is known: an epoch never comes again with other
    ///     partitions, also if the cluster was put back to before it.
    public init(
        from file: ClusterFile, to partitions: Int, id: Bytes16?, importing: Bytes16? = nil, noted: UInt32 = 0
    ) {
        precondition(file.state == .ready, "a change of epoch that was begun is resumed, not begun anew")
        let old = file.topology
        let building = ClusterFile(
            topology: Topology(cluster: old.cluster, epoch: max(old.epoch, noted) + 1, partitions: partitions),
            state: .building,
            earlier: file.earlier + [ClusterFile.Epoch(epoch: old.epoch, partitions: old.partitions)],
            change: id, imports: file.imports, importing: importing)
        self.init(building: building, begins: true)
    }

    /// One that is to be resumed: the cluster file says `building` and names the epoch before.
    public init(resuming file: ClusterFile) {
        precondition(file.state == .building, "nothing to resume: the cluster file says ready")
        self.init(building: file, begins: false)
    }

    private init(building: ClusterFile, begins: Bool) {
        guard let old = building.earlier.last else {
            preconditionFailure("a first epoch is made by init, not by a change of epoch")
        }
        var ready = building
        ready.state = .ready
        ready.imports += [building.importing].compactMap(\.self)
        ready.importing = nil
        var steps = begins ? [Step.open(building)] : []
        steps += Self.publishing(building.topology)
        steps += old.partitionIDs.map { .seal($0) }
        steps += old.partitionIDs.map { .drain($0) }
        steps += [.build, .place, .ready(ready)]
        // Redis may have gone back since the change was published.
        steps += Self.publishing(building.topology)
        for epoch in building.earlier { steps += epoch.partitionIDs.map { .collect($0) } }
        self.building = building
        self.steps = steps.reversed()
    }

    /// What to do next; nil when done.
    public var next: Step? { steps.last }

    /// How many steps are left.
    public var stepsLeft: Int { steps.count }

    /// Goes on without what was to be imported: after the drain it has turned out that the queues had brought some of
    /// it. The caller has written `building`, durably, before the next step.
    public mutating func leaveOutImport() {
        building.importing = nil
        steps = steps.map { step in
            guard case .ready(var file) = step else { return step }
            file.imports = building.imports
            return .ready(file)
        }
    }

    /// The next step is done.
    public mutating func done(_ step: Step) {
        precondition(step == next, "\(step) is not the next step of the change of epoch")
        steps.removeLast()
    }

    /// What Redis has to show of `topology`; harmless at any time. Repair begins with it, and repeats it while it
    /// waits.
    public static func publishing(_ topology: Topology) -> [Step] {
        topology.partitionIDs.map { .create($0) } + [.publish(topology)]
    }
}
