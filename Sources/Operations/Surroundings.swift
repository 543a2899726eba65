// Where a command has looked: which cluster is in its folder, which Redis and namespace it asked and what is there, and
// whether an `up` runs for the folder.
//
// A mistyped --data-dir, --redis or --namespace looks exactly like a cluster that is not made yet, or like a Redis that
// has lost its keys. So nobody is told to make or to mend something without having seen where that would happen.

import RedisQueue
public import ServiceKit
import TallyCore

/// What is at the places that a command was given.
public struct Surroundings: Sendable {
    /// What a namespace of a Redis shows.
    enum Queues: Hashable, Sendable {
        /// There is no way to ask.
        case unknown(String)
        case silent
        case empty
        case cluster(Topology)
    }

    let folder: DataFolder
    let file: ClusterFile?
    let queues: Queues
    /// "redis://127.0.0.1:6379, namespace tallymill"
    let redis: String
    /// The process of the `up` of this folder.
    let up: Int32?
    /// Whether that Redis was named, or is the default.
    let isRedisNamed: Bool
    /// Whether an `up` with a Redis of its own has had this folder.
    let hasOwnRedis: Bool

    /// - Parameters:
    ///   - access: nil if there is none that can be used.
    ///   - isRedisNamed: whether somebody has said which Redis.
    ///   - isSilent: whether it has just not answered.
    public init(_ folder: DataFolder, _ access: RedisAccess?, isRedisNamed: Bool, isSilent: Bool) {
        self.folder = folder
        self.isRedisNamed = isRedisNamed
        file = (try? folder.readClusterFile()) ?? nil  // one that cannot be read is told by who needs it
        up = (try? FileLock.holder("\(folder.upPath)/lock")) ?? nil  // as above
        hasOwnRedis = Folder.exists(folder.privateRedisPath)
        redis = access?.place ?? "none that can be asked"
        queues = isSilent ? .silent : Self.look(access)
    }

    private static func look(_ access: RedisAccess?) -> Queues {
        guard let access else { return .unknown("its options are wrong") }
        do throws(Failure) {
            let connection = try access.connect(waitingMilliseconds: 0, needsLibrary: false)
            let keys = ClusterKeys(connection: connection, names: access.names)
            return try onRedis { () throws(RedisError) in try keys.readTopology() }.map { .cluster($0) } ?? .empty
        } catch {
            return error.mayBeMisplaced ? .silent : .unknown(error.what)
        }
    }

    // MARK: In words

    /// The same failure, with what was looked at and the way on. One that has nothing to do with places stays as it is.
    public func explaining(_ failure: Failure) -> Failure {
        guard failure.mayBeMisplaced else { return failure }
        let advice = [place, "\(way ?? failure.advice ?? "`tallymill repair` mends what this Redis has lost.")"]
        return Failure(
            failure.code, failure.what, at: failure.location, advice: advice.joined(separator: "\n  "))
    }

    /// Three lines.
    var place: String {
        let own = file.map { "\(Self.named($0.topology)), in \(folder.path)" } ?? "no cluster in \(folder.path)"
        let found =
            switch queues {
            case .unknown(let reason): "not asked: \(reason)"
            case .silent: "does not answer"
            case .empty: "no cluster is published there"
            case .cluster(let topology): Self.named(topology)
            }
        let running = up.map { "runs for this folder, process \($0)" } ?? "does not run for this folder"
        return "folder: \(own)\n  Redis:  \(redis): \(found)\n  `up`:   \(running)"
    }

    private static func named(_ topology: Topology) -> String {
        "cluster \(topology.cluster), epoch \(topology.epoch), "
            + (topology.partitions == 1 ? "1 partition" : "\(topology.partitions) partitions")
    }

    /// What to type; nil if folder and Redis belong together.
    var way: String? {
        guard let file else { return wayWithoutCluster }
        let hasAnother = isRedisNamed && up != nil && hasOwnRedis
        switch queues {
        case .unknown: return nil
        case .silent where hasAnother, .empty where hasAnother:
            return "The `up` of this folder has a Redis of its own, which commands ask if --redis is left out."
        case .silent where up == nil && hasOwnRedis:
            return "`tallymill up` starts it, if this cluster has the Redis of its `up`; --redis names another one."
        case .silent:
            return "Start this Redis, or name the one of this cluster with --redis; `tallymill doctor` looks closer."
        case .empty: return Self.wayOfEmpty
        case .cluster(let topology) where topology.cluster == file.topology.cluster: return nil
        case .cluster(let topology):
            return Self.way(from: topology.cluster, to: file.topology.cluster)
        }
    }

    /// A Redis of another cluster than the one of the folder.
    static func way(from other: ClusterID, to own: ClusterID) -> String {
        "Name the Redis of cluster \(own) with --redis, or its --namespace; or with --data-dir the folder of cluster"
            + " \(other)."
    }

    /// A Redis without anything of the cluster that is in the folder.
    static let wayOfEmpty =
        "`tallymill repair` makes everything anew, if this is the Redis of the cluster and it has lost its keys. If"
        + " not, name the right one with --redis and --namespace."

    private var wayWithoutCluster: String {
        let other = "--data-dir names the folder of a cluster that is there."
        switch queues {
        case .cluster:
            return "The folder of the cluster in this Redis is another one: name it with --data-dir. A new cluster"
                + " needs another --namespace."
        case .silent where isRedisNamed:
            return "\(other) For a new one start this Redis, or name another with --redis; then `tallymill init"
                + " --partitions 4`."
        case .silent: return "\(other) `tallymill up` makes a new one in this folder, with a Redis of its own."
        case .empty, .unknown:
            return "\(other) `tallymill init --partitions 4` makes a new one in this folder and this Redis."
        }
    }
}
