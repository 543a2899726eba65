// How a refusal of the counting side reads on the HTTP side: 503 with a moment to come back, or 422.

import HTTPFront
import ServiceKit
import TallyCore

/// Who refuses, and where it has looked: what sentences name beside the reason.
struct Refuser: Sendable {
    let producer: ProducerID
    /// Redis and namespace, without secrets.
    let place: String
    let given: GivenOptions

    /// For clients and the log, without a full stop.
    func sentence(_ refusal: TallyCore.Refusal) -> String {
        // The key of a client is no text of ours.
        if case .sumOutOfRange = refusal { return refusal.sentence(of: self) }
        return given.completing(refusal.sentence(of: self))
    }
}

extension HTTPFront.Refusal {
    init(_ refusal: TallyCore.Refusal, of refuser: Refuser) {
        let sentence = refuser.sentence(refusal)
        switch refusal {
        case .sumOutOfRange: self = .unprocessable(detail: sentence)
        case .repairDue, .otherCluster, .shardBehind, .redisUnfit:
            self = .unavailable(reason: sentence, retryAfterSeconds: 5)
        case .noTopology, .draining, .redisUnreachable, .outboxFull, .queueFull, .redisRefuses, .identityInUse:
            self = .unavailable(reason: sentence, retryAfterSeconds: 1)
        }
    }
}

extension TallyCore.Refusal {
    fileprivate func sentence(of refuser: Refuser) -> String {
        let producer = refuser.producer
        return switch self {
        case .noTopology:
            "no cluster is published in \(refuser.place): start this node with the --redis and --namespace of its"
                + " cluster, or, if these are right, run `tallymill init` on the host of the shards"
        case .draining: "this node is shutting down"
        case .redisUnreachable: "Redis does not answer"
        case .outboxFull: "too much is waiting for the consumers on this node"
        case .queueFull(let partition): "the queue of partition \(partition) is full: its consumer is behind"
        case .shardBehind(let partition, let missing):
            "the shard of partition \(partition.number) lacks batches \(missing.lowerBound)-\(missing.upperBound) of "
                + "producer \(producer), which it had, unless its consumer stands still: `tallymill verify` shows what"
                + " is missing; put the newest copy of the shard back, or run `tallymill repair --accept-loss "
                + StreamID(partition: partition, producer: producer).name(of: missing) + "`"
        case .identityInUse: "another process uses this node's identity: this one ends"
        case .redisUnfit(let text): text
        case .repairDue(let partition):
            "partition \(partition) is closed or missing in Redis, or of another epoch than this node has seen: run"
                + " `tallymill repair`"
        case .otherCluster(let cluster): "Redis belongs to another cluster, \(cluster)"
        case .redisRefuses(let text): "Redis refuses: \(text)"
        case .sumOutOfRange(let key):
            "the increments of key \(JSONText.quote(key)) add up to more than a signed 64-bit integer holds"
        }
    }
}
