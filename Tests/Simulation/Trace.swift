// How a run is written down: a line for a person, a number for the hash that shows that two runs were the same.

import TallyCore

enum Trace {
    static func text(_ command: QueueCommand) -> String {
        switch command {
        case .push(let batch, let floor, _, _):
            "push \(batch.id.stream.partition) #\(batch.id.sequence) floor \(floor)"
        case .heartbeat(let stream, let floor, _): "heartbeat \(stream.partition) floor \(floor)"
        case .compare(let floors, let partition, _):
            "compare \(floors.map { "\($0.stream.partition) #\($0.sequence)" }) in \(partition)"
        case .noteEpoch(let topology): "note e\(topology.epoch)"
        case .readTopology: "topology"
        case .readTime: "time"
        }
    }

    static func text(_ answer: QueueAnswer) -> String {
        switch answer {
        case .push(let reply): "\(reply)"
        case .heartbeat(let reply): "\(reply)"
        case .compared(let reply): "\(reply)"
        case .epochNoted: "noted"
        case .topology(let topology): topology.map { "e\($0.epoch) K=\($0.partitions)" } ?? "none"
        case .time(let time): "\(time ?? 0)"
        case .unknown: "unknown"
        }
    }

    static func text(_ command: ConsumerCommand) -> String {
        switch command {
        case .claim: "claim"
        case .peek(let skip, _, let batchesMax): "peek \(batchesMax) behind \(skip)"
        case .trim(let request, _): "trim \(request.committed.map(\.sequence)) token \(request.token)"
        case .renew(let token): "renew \(token)"
        case .seal: "seal"
        }
    }

    static func text(_ reply: ConsumerReply) -> String {
        switch reply {
        case .claim(.granted(let claim), _): "token \(claim.token)\(claim.sealed ? " sealed" : "")"
        case .claim(let reply, _): "\(reply)"
        case .peek(.batches(let peeked), _):
            "\(peeked.batches.count) of \(peeked.length)\(peeked.sealed ? " sealed" : "")"
        case .peek(.noTopology, _): "noTopology"
        case .trim(let reply): "\(reply)"
        case .renew(let isFenced): isFenced ? "fenced" : "renewed"
        case .seal(let reply): "\(reply)"
        }
    }

    static func number(_ answer: QueueAnswer) -> UInt64 {
        switch answer {
        case .push(.ok(let applied)): 1 << 24 ^ applied
        case .push(.duplicate(let last, _, let applied)): 2 << 24 ^ last << 12 ^ applied
        case .push(.sealed(let applied)): 3 << 24 ^ applied
        case .push(.gap(let last, let applied)): 4 << 24 ^ last << 12 ^ applied
        case .push(.full(let applied)): 5 << 24 ^ applied
        case .push(.noTopology): 6 << 24
        case .push(.refused): 7 << 24
        case .heartbeat(.progress(let last, let applied)): 8 << 24 ^ last << 12 ^ applied
        case .heartbeat(.noTopology): 9 << 24
        case .heartbeat(.refused): 10 << 24
        case .compared(.known(let known)): 15 << 24 ^ UInt64(known.count { $0 }) << 12 ^ UInt64(known.count)
        case .compared(.noTopology): 16 << 24
        case .compared(.refused): 17 << 24
        case .epochNoted: 18 << 24
        case .topology(let topology): 11 << 24 ^ UInt64(topology?.epoch ?? 0)
        case .unknown: 12 << 24
        case .push(.behind(let applied)): 23 << 24 ^ applied
        case .push(.conflict): 24 << 24
        case .time(let time): 25 << 24 ^ (time ?? 0)
        }
    }

    static func number(_ reply: ConsumerReply) -> UInt64 {
        switch reply {
        case .claim(.granted(let claim), _): 13 << 24 ^ claim.token
        case .claim(.held, _): 14 << 24
        case .claim(.noTopology, _): 15 << 24
        case .claim(.otherShard, _): 26 << 24
        case .peek(.batches(let peeked), _): 16 << 24 ^ UInt64(peeked.length << 8 ^ peeked.batches.count)
        case .peek(.noTopology, _): 17 << 24
        case .trim(.trimmed(let batches)): 18 << 24 ^ UInt64(batches)
        case .trim(.fenced): 19 << 24
        case .trim(.noTopology): 20 << 24
        case .renew(let isFenced): 21 << 24 ^ (isFenced ? 1 : 0)
        case .seal(let reply): 22 << 24 ^ (reply == .sealed ? 1 : 0)
        }
    }
}

extension World {
    /// What the batches of an apply hold.
    func logBatches(_ batches: [[UInt8]]) {
        for batch in batches {
            log(
                batch.withUnsafeBytes { bytes in
                    guard let reader = try? BatchReader(bytes) else { return "a batch that does not decode" }
                    var keys: [String] = []
                    reader.forEach { keys.append(String(decoding: $0.key, as: UTF8.self)) }
                    let header = reader.header
                    let origin = header.origin.map { " from \($0.stream.partition) #\($0.sequence)" } ?? ""
                    return "  \(header.id)\(origin) sent \(header.frozenAt): \(keys.joined(separator: " "))"
                })
        }
    }
}
