// The steps of the operators' campaign: what may happen to a cluster, as a value that can be drawn, written down as
// the commands that an operator would type, left out, and done again.
//
// A step can be taken in any state, or leaving one out would change what the others mean: a node that is dead is not
// killed again, a copy that was never made is not put back.

/// One thing that happens.
public enum CampaignStep: Hashable, Sendable {
    /// How far the clock of a process is ahead, in days, while it lives.
    public enum Clock: Int, Hashable, Sendable, CaseIterable { case right = 0, behind = -2, ahead = 30 }

    /// With which settings Redis is started.
    public enum RedisSettings: String, Hashable, Sendable, CaseIterable {
        case durable, noFsync, evicting, noFsyncDuringRewrite, volatile

        public var options: [String] {
            switch self {
            case .durable: ManualCluster.durable
            case .noFsync: ["--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "noeviction"]
            case .evicting: ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"]
            case .noFsyncDuringRewrite: ManualCluster.durable + ["--no-appendfsync-on-rewrite", "yes"]
            case .volatile: ["--appendonly", "no", "--maxmemory-policy", "noeviction"]
            }
        }
    }

    // Clients go on for a while; the writers pause until nothing is under way.
    case work, settle, letTimePass
    // Requests under an Idempotency-Key, and the same again.
    case ask, askAgain
    // Web nodes, by number.
    case startNode(Int, Clock), killNode(Int), terminateNode(Int), freezeNode(Int), thawNode(Int)
    // The consumers of all partitions; `up` brings a node of its own and restarts what dies.
    case startConsumers(Clock), startUp, killConsumers, killUp, terminateConsumers, freezeConsumers, thawConsumers
    case killRedis, startRedis(RedisSettings), copyRedis, putBackRedis, flushRedis
    case initialize, repair, collect, purge, resume, prove
    case repairKilled(afterMilliseconds: Int), purgeKilled(afterMilliseconds: Int)
    case rebalance(to: Int), rebalanceKilled(to: Int, before: Int), resumeKilled(before: Int)
    case importLines(Int, isQueued: Bool), importKilled(Int, isQueued: Bool, before: Int)
    case export, backup, restore
    case makeLetter, replayLetters, dropLetters, newToken
    // The data folder alone, or with Redis' as a host's snapshot; a copy that another host would have.
    case copyFiles, putBackFiles, copyHost, putBackHost
    case staleInit, staleRepair, staleConsume
}

extension CampaignStep {
    /// Longer than a short retention.
    static let passingSeconds = 6

    /// Less than a second, for a command line.
    private static func seconds(_ milliseconds: Int) -> String { "0." + "\(1_000 + milliseconds)".dropFirst() }

    private static func clock(_ clock: Clock) -> String {
        clock == .right ? "" : "FAKETIME=\(clock.rawValue > 0 ? "+" : "")\(clock.rawValue)d "
    }

    /// As an operator would type it.
    public var shell: String {
        switch self {
        case .work: "sleep 0.2                                   # clients go on"
        case .ask: "curl -H \"Idempotency-Key: once-$i\" -d ...          # three of them"
        case .askAgain: "curl -H \"Idempotency-Key: once-$i\" -d ...          # the same three again"
        case .letTimePass: "sleep \(Self.passingSeconds)                                     # idempotency keys expire"
        case .settle: "tallymill status; tallymill audit           # until nothing is under way"
        case .startNode(let node, let clock): Self.clock(clock) + "tallymill web &  # node \(node)"
        case .killNode(let node): "kill -9 $node\(node)"
        case .terminateNode(let node): "kill $node\(node)"
        case .freezeNode(let node): "kill -STOP $node\(node)"
        case .thawNode(let node): "kill -CONT $node\(node)"
        case .startConsumers(let clock): Self.clock(clock) + "tallymill consume --partitions 0-$((K-1)) &"
        case .startUp: "tallymill up &                              # instead of consume"
        case .killConsumers: "kill -9 $consume                            # of `up`: one child"
        case .killUp: "kill -9 $up"
        case .terminateConsumers: "kill $consume"
        case .freezeConsumers: "kill -STOP $consume"
        case .thawConsumers: "kill -CONT $consume"
        case .killRedis: "kill -9 $redis"
        case .startRedis(let settings): "redis-server \(settings.options.joined(separator: " ")) &"
        case .copyRedis: "kill -STOP $redis; cp -a redis redis.copy; kill -CONT $redis"
        case .putBackRedis: "kill -9 $redis; rm -r redis; cp -a redis.copy redis; redis-server &"
        case .flushRedis: "redis-cli FLUSHALL"
        case .copyFiles: "kill $consume; cp -a data data.copy"
        case .putBackFiles: "kill $consume; mv data data.aside; cp -a data.copy data"
        case .copyHost: "kill $consume; kill -STOP $redis; cp -a data redis host.copy; kill -CONT $redis"
        case .putBackHost: "kill $consume; kill -9 $redis; cp -a host.copy/* .; redis-server &"
        default: command
        }
    }

    private var command: String {
        switch self {
        case .initialize: "tallymill init"
        case .repair: "tallymill repair --yes"
        case .collect: "tallymill repair --yes --collect"
        case .purge: "tallymill rebalance purge --yes"
        case .repairKilled(let after): "timeout -s KILL \(Self.seconds(after)) tallymill repair --yes"
        case .purgeKilled(let after): "timeout -s KILL \(Self.seconds(after)) tallymill rebalance purge --yes"
        case .resume: "tallymill rebalance resume"
        case .prove: "tallymill verify; tallymill audit"
        case .rebalance(let partitions): "kill $consume; tallymill rebalance run --to \(partitions) --yes"
        case .rebalanceKilled(let partitions, let step):
            "kill $consume; tallymill rebalance run --to \(partitions) --yes --pause-before \(step); kill -9 $!"
        case .resumeKilled(let step): "kill $consume; tallymill rebalance resume --pause-before \(step); kill -9 $!"
        case .importLines(let file, let isQueued):
            (isQueued ? "" : "kill $consume; ")
                + "tallymill import --format text lines-\(file)\(isQueued ? " --queued" : "")"
        case .importKilled(let file, let isQueued, let step):
            (isQueued ? "" : "kill $consume; ")
                + "tallymill import --format text lines-\(file)\(isQueued ? " --queued" : "") "
                + "--pause-before \(step); kill -9 $!"
        case .export: "tallymill export -o counters.txt"
        case .backup: "rm -rf backup; tallymill backup backup"
        case .restore: "kill $consume; tallymill restore backup --replace"
        case .makeLetter:
            "for n in 9223372036854775807 5 -1000; do curl -d key=big$i -d value=$n ...?level=stored; done"
        case .replayLetters: "tallymill dead-letters replay --all"
        case .dropLetters: "tallymill dead-letters drop --all --yes"
        case .newToken: "tallymill token new campaign --scopes write --append tokens"
        case .staleInit: "tallymill init --data-dir data.copy"
        case .staleRepair: "tallymill repair --yes --data-dir data.copy"
        case .staleConsume: "tallymill consume --data-dir data.copy --partitions 0-$((K-1)) & sleep 0.5; kill $!"
        default: "?"
        }
    }
}

/// Steps in an order, with a number of partitions to begin with.
public struct CampaignSequence: Hashable, Sendable, CustomStringConvertible {
    public var partitions: Int
    public var steps: [CampaignStep]
    /// Whether idempotency keys are kept for seconds only.
    public var hasShortRetention: Bool
    /// Before so many steps no client counts anything: the cluster is empty.
    public var emptySteps: Int
    /// Whether files that give way to an older copy are deleted, so that none can be put back but that copy.
    public var losesNewest: Bool

    public init(
        partitions: Int, steps: [CampaignStep], hasShortRetention: Bool = false, emptySteps: Int = 0,
        losesNewest: Bool = false
    ) {
        self.losesNewest = losesNewest
        self.partitions = partitions
        self.steps = steps
        self.hasShortRetention = hasShortRetention
        self.emptySteps = emptySteps
    }

    public var description: String {
        let start = [
            "redis-server \(ManualCluster.durable.joined(separator: " ")) &",
            "tallymill init --partitions \(partitions)",
            "tallymill web & tallymill web &             # nodes 0 and 1",
            "tallymill consume --partitions 0-\(partitions - 1) &"
                + (hasShortRetention ? "  # always with --idempotency-retention 5s" : ""),
        ]
        var lines = start
        for (number, step) in steps.enumerated() {
            if number == emptySteps { lines.append("load &                                      # clients begin") }
            lines.append(step.shell)
        }
        if losesNewest { lines.append("# and data.aside is deleted each time") }
        return lines.map { "  \($0)\n" }.joined()
    }
}
