// Which faults a run has, and which rule it breaks on purpose.
//
// A mix names the faults that may meet each other. A mutation is a canary: one rule of the protocol is broken, in the
// models or between them and the machines, never in the machines themselves, and the run must notice.

/// What may go wrong.
public struct Faults: OptionSet, Hashable, Sendable {
    public let rawValue: UInt32

    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Commands lost, replies lost, commands executed much later, connections cut.
    public static let network = Faults(rawValue: 1 << 0)
    /// A node is killed; its outbox is gone.
    public static let kill = Faults(rawValue: 1 << 1)
    /// A node stops for a while and goes on with what it knew.
    public static let stall = Faults(rawValue: 1 << 2)
    /// A consumer is killed between any two actions, or paused and goes on as a zombie; the disk is full.
    public static let consumers = Faults(rawValue: 1 << 3)
    /// Lists are small.
    public static let full = Faults(rawValue: 1 << 4)
    /// Clients send again through another node, with an idempotency key.
    public static let idempotent = Faults(rawValue: 1 << 5)
    /// One key group, or the topology, goes back in time, and sometimes forward again.
    public static let backPart = Faults(rawValue: 1 << 6)
    /// All of Redis goes back in time.
    public static let backAll = Faults(rawValue: 1 << 7)
    /// FLUSHALL.
    public static let flush = Faults(rawValue: 1 << 8)
    /// What creates missing key groups runs at any moment, not only when it is due.
    public static let repair = Faults(rawValue: 1 << 9)
    /// An old backup takes the place of a shard file.
    public static let restore = Faults(rawValue: 1 << 10)
    /// New nodes start, on whatever topology Redis shows.
    public static let join = Faults(rawValue: 1 << 11)
    /// Leases and tokens are enforced; without it the model grants everything, which is worse.
    public static let leases = Faults(rawValue: 1 << 12)
    /// K changes, several times in a row.
    public static let rebalance = Faults(rawValue: 1 << 13)
    /// A tool is killed between any two steps, and its work is resumed, or left as it is.
    public static let crash = Faults(rawValue: 1 << 14)
    /// Clients give up waiting, and are told the level reached.
    public static let impatient = Faults(rawValue: 1 << 15)
    /// Deltas near the ends of Int64.
    public static let edges = Faults(rawValue: 1 << 16)
    /// A rebalance may delete the key groups that it leaves behind.
    public static let collect = Faults(rawValue: 1 << 17)
    /// `rebalance purge` at any moment after `ready`.
    public static let purge = Faults(rawValue: 1 << 18)
    /// Imports both ways, killed and repeated the other way.
    public static let imports = Faults(rawValue: 1 << 19)
    /// Claims have a retention, hours pass, Redis' clock steps, and clients send again long after.
    public static let clocks = Faults(rawValue: 1 << 20)
    /// A backup stays in the place of a file, and the operator accepts what it lacks as lost.
    public static let loss = Faults(rawValue: 1 << 21)
    /// An older copy of the data folder is served for a while.
    public static let copies = Faults(rawValue: 1 << 22)
    /// An earlier state of a node's memory is resumed, with or without the node living on.
    public static let rewind = Faults(rawValue: 1 << 23)
    /// Redis is emptied and given to another cluster for a while.
    public static let foreign = Faults(rawValue: 1 << 24)
    /// Redis is restarted with settings under which it does not keep what it confirms.
    public static let unfit = Faults(rawValue: 1 << 25)
    /// Dead letters are replayed, by a command that may be killed and repeated much later.
    public static let letters = Faults(rawValue: 1 << 26)
    /// Redis, the shards and the cluster file are put back together, while nodes live on.
    public static let hostBack = Faults(rawValue: 1 << 27)
    /// Nodes are asked to stop.
    public static let stops = Faults(rawValue: 1 << 28)
    /// Somebody puts entries into lists that are no batches.
    public static let garbage = Faults(rawValue: 1 << 29)
}

/// A named set of faults.
public struct Mix: Hashable, Sendable {
    public let name: String
    public let faults: Faults

    public init(_ name: String, _ faults: Faults) {
        self.name = name
        self.faults = faults
    }

    private static let usual: Faults = [.network, .stall, .consumers, .impatient]
    private static let changing: Faults = [.rebalance, .crash, .collect]

    public static let calm = Mix("calm", [.rebalance])
    public static let process = Mix("process", usual.union([.kill, .full, .idempotent, .edges]))
    public static let rebalance = Mix(
        "rebalance", usual.union([.kill, .full, .idempotent, .edges]).union(changing))
    public static let backPart = Mix("back-part", usual.union([.idempotent, .full, .backPart]))
    public static let backAll = Mix("back-all", usual.union([.idempotent, .backAll, .edges]))
    public static let backPartRebalance = Mix(
        "back-part-reb", usual.union([.kill, .idempotent, .backPart, .repair]).union(changing))
    public static let backAllRebalance = Mix(
        "back-all-reb", usual.union([.kill, .idempotent, .full, .backAll, .repair]).union(changing))
    public static let flush = Mix("flush", usual.union([.idempotent, .flush, .repair]))
    public static let flushRebalance = Mix(
        "flush-reb", usual.union([.kill, .idempotent, .flush, .repair]).union(changing))
    public static let restore = Mix("restore", usual.union([.idempotent, .full, .restore, .leases]))
    public static let restoreRebalance = Mix("restore-reb", usual.union([.rebalance, .restore, .leases]))
    public static let leases = Mix("leases", usual.union([.kill, .full, .backPart, .backAll, .leases]))
    public static let zombie = Mix("zombie", usual.union([.join, .rebalance, .backPart, .backAll, .edges]))
    public static let liveBack = Mix(
        "live-back", usual.union([.join, .idempotent, .backPart, .backAll, .flush, .repair]).union(changing))
    public static let stragglers = Mix(
        "stragglers", usual.union([.kill, .join, .rebalance, .backPart, .backAll]))
    public static let everything = Mix(
        "everything",
        usual.union([.kill, .full, .idempotent, .backPart, .backAll, .flush, .repair, .join, .edges]).union(changing))

    public static let purge = Mix(
        "purge", usual.union([.kill, .join, .idempotent, .backPart, .purge]).union(changing))
    public static let imports = Mix(
        "imports", usual.union([.imports, .clocks, .idempotent, .purge]).union(changing))
    public static let importsAlone = Mix("imports-alone", [.imports, .rebalance])
    public static let importsBack = Mix(
        "imports-back", usual.union([.imports, .backPart, .flush, .repair]).union(changing))
    public static let clocks = Mix("clocks", usual.union([.idempotent, .clocks, .kill]))
    public static let clocksRebalance = Mix(
        "clocks-reb", usual.union([.idempotent, .clocks, .backPart, .repair, .letters, .edges]).union(changing))
    public static let letters = Mix("letters", usual.union([.idempotent, .clocks, .edges, .letters, .crash]))
    public static let loss = Mix(
        "loss", usual.union([.idempotent, .restore, .loss, .leases, .backPart, .backAll, .flush, .repair]))
    public static let lossRebalance = Mix(
        "loss-reb", usual.union([.restore, .loss, .leases, .backPart, .flush, .repair]).union(changing))
    public static let copies = Mix("copies", usual.union([.idempotent, .copies, .leases, .join]))
    public static let copiesRebalance = Mix(
        "copies-reb", usual.union([.kill, .copies, .leases, .join]).union(changing))
    public static let tokens = Mix("tokens", usual.union([.restore, .loss, .leases, .backAll, .flush, .repair]))
    public static let rewind = Mix("rewind", usual.union([.kill, .full, .idempotent, .rewind]))
    public static let foreign = Mix("foreign", usual.union([.idempotent, .foreign, .rebalance]))
    public static let unfit = Mix("unfit", usual.union([.kill, .idempotent, .unfit, .rebalance]))

    public static let hostBack = Mix("host-back", usual.union([.idempotent, .hostBack, .leases, .repair]))
    public static let hostBackRebalance = Mix(
        "host-back-reb", usual.union([.idempotent, .hostBack, .leases, .join, .repair]).union(changing))

    public static let stops = Mix("stops", usual.union([.stops, .kill, .full, .idempotent, .backPart, .backAll]))
    public static let stopsRebalance = Mix(
        "stops-reb", usual.union([.stops, .idempotent, .backPart, .flush, .repair]).union(changing))

    public static let garbage = Mix("garbage", usual.union([.garbage, .kill, .full, .idempotent, .backPart, .backAll]))

    public static let all: [Mix] = [
        calm, process, rebalance, backPart, backAll, backPartRebalance, backAllRebalance, flush, flushRebalance,
        restore, restoreRebalance, leases, zombie, liveBack, stragglers, everything, purge, imports, importsAlone,
        importsBack, clocks, clocksRebalance, letters, loss, lossRebalance, copies, copiesRebalance, tokens, rewind,
        foreign, unfit, hostBack, hostBackRebalance, stops, stopsRebalance,
        garbage,
    ]
}

/// One rule broken on purpose.
public enum Mutation: String, Hashable, Sendable, CaseIterable {
    /// trim pops as many entries as were committed, without looking at them
    case countTrim = "count-trim"
    /// trim pops up to an absolute position
    case offsetTrim = "offset-trim"
    /// a producer gives up and uses the sequence number for another batch
    case seqReuse = "seq-reuse"
    /// push accepts any sequence number above the last one
    case noContiguity = "no-contiguity"
    /// a batch is forgotten once it is in Redis
    case noOutbox = "no-outbox"
    /// push ignores floor
    case noFloor = "no-floor"
    /// push creates a missing key group
    case autoCreate = "auto-create"
    /// a node looks for a rollback only when it pushes
    case noHeartbeat = "no-heartbeat"
    /// a consumer starts on a file that is older than its queue
    case noBackupCheck = "no-backup-check"
    /// a late trim of an earlier lease holder is accepted
    case noTrimToken = "no-trim-token"
    /// re-routed batches carry no origin
    case noOrigin = "no-origin"
    /// an origin is recorded by raising the watermark of its own stream
    case originMax = "origin-max"
    /// an origin is recorded per batch, not per key, and the union goes to all new shards
    case originBatch = "origin-batch"
    /// (origin, key) rows do not move to the new shards
    case routedNotCarried = "routed-not-carried"
    /// watermarks are not carried to the new shards
    case noCarry = "no-carry"
    /// a consumer does not check the file's state inside its transaction
    case noFenceCheck = "no-fence-check"
    /// drain does not mark the old file
    case noRetire = "no-retire"
    /// a node accepts a topology with a lower epoch
    case lowerEpoch = "lower-epoch"
    /// the plan is not on disk before Redis is touched
    case noPlanFile = "no-plan-file"
    /// repair leaves the lists of earlier epochs alone
    case noSweep = "no-sweep"
    /// repair removes what it takes over from an old list, and forgets it, before it is stored
    case earlyPop = "early-pop"
    /// push believes the floor of a producer, whatever the shard has
    case trustFloor = "trust-floor"
    /// push and its answers ignore the history of the stream
    case noHistory = "no-history"
    /// push does not look whose partition it is
    case anyCluster = "any-cluster"
    /// a lease's token is one more than the last
    case countedToken = "counted-token"
    /// a key group is created without the watermarks of its file
    case blankCreate = "blank-create"
    /// purge forgets the watermarks of the last epoch, too
    case purgeAll = "purge-all"
    /// purge does not write down what it forgot
    case unmarkedPurge = "unmarked-purge"
    /// a direct import looks at the shards' keys alone
    case blindImport = "blind-import"
    /// claims are dated when they are counted, and expire by the consumer's clock
    case claimsByArrival = "claims-by-arrival"
    /// claims expire although older requests wait, or are still held by a node
    case eagerExpiry = "eager-expiry"
    /// the clock of the claims follows Redis' at once
    case blindClock = "blind-clock"
    /// what was forgotten is not remembered: an increment without a claim is new, however old it is
    case noLateCheck = "no-late-check"
    /// an import that is complete is named nowhere, and its claims are gone
    case unnamedImport = "unnamed-import"
    /// claims of tools expire like those of clients
    case toolClaimsExpire = "tool-claims-expire"
    /// the last epoch's files are not compared with what Redis has seen committed
    case noEpochCheck = "no-epoch-check"
    /// a connection is used without a look at Redis' settings
    case trustSettings = "trust-settings"
    /// a node that moves forgets what it has released
    case forgetFloors = "forget-floors"
    /// push does not look of how many partitions the epoch is
    case anyPartitions = "any-partitions"
    /// an epoch comes again after the cluster was put back, whatever nodes have seen
    case lowEpoch = "low-epoch"
    /// the shards of an epoch that comes again have the identities of the first time
    case derivedShard = "derived-shard"
    /// a node that stops believes what its old connection has confirmed
    case hastyStop = "hasty-stop"
    /// bury takes away whatever lies at the head
    case buryHead = "bury-head"
    /// push looks at the seal before it looks for a duplicate: harmless
    case sealBeforeDedupe = "seal-before-dedupe"
    /// the topology is overwritten without comparing epochs: harmless, a node ignores what is lower, and repair heals
    case topoBlind = "topo-blind"
    /// drain believes an empty list without checking that it is sealed: harmless, what comes later has an origin
    case drainNoSealCheck = "drain-no-seal-check"
    /// nothing is ever sealed: harmless, nodes move late, and what they push to old lists is swept
    case noSeal = "no-seal"
}
