// The door of the simulator: one seed of one mix, and what came of it.

/// What one run showed.
public struct Run: Sendable {
    public let mix: Mix
    public let seed: UInt64
    /// Empty if the protocol held.
    public let problems: [String]
    /// Hash of everything that happened: equal for equal seeds, on every machine.
    public let history: UInt64
    public let acknowledgedIncrements: Int
    public let requests: Int
    public let refusals: Int
    /// Increments lost because their node was killed and a rollback took them from Redis.
    public let doubleFaults: Int
    public let counts: World.Counts
    /// Empty unless asked for.
    public let trace: [String]

    /// Runs `seed`; the same arguments give the same run.
    public init(_ mix: Mix, seed: UInt64, mutation: Mutation? = nil, isTraced: Bool = false) {
        let world = World(mix: mix, seed: seed, mutation: mutation, isTraced: isTraced)
        world.run()
        self.mix = mix
        self.seed = seed
        problems = world.problems
        history = world.history
        acknowledgedIncrements = world.oracle.acknowledgedIncrements
        requests = world.oracle.requests.count
        refusals = world.oracle.refusals
        doubleFaults = world.oracle.doubleFaults
        counts = world.counts
        trace = world.trace
    }
}
