// What the campaign knows beside the fates of requests: which losses are documented by now, what was imported, and what
// the amounts of dead letters are. The ledger holds the requests; this holds what commands promise.

/// What has happened to a cluster, as far as it matters for what may be lost. Owned by one thread.
struct CampaignModel {
    /// A file of lines that was imported, or tried to be.
    struct Lines {
        /// Whether a command was started that may have counted them.
        var isTried = false
    }

    /// One key whose increments do not all fit.
    struct Big {
        /// The sum of what was acknowledged.
        var acknowledged: Int128 = 0
        var dropped: Int128 = 0
        /// Whether the sum is known: nothing of it was lost on the way, and no loss is documented.
        var isCertain = true
    }

    /// Ports of nodes that have ended.
    var deadSources: Set<UInt16> = []
    /// Ports of nodes that lived when Redis went back, and may not have sent again yet what it forgot.
    var fragile: Set<UInt16> = []
    /// Why something may be missing in the files, of which tools must name the ranges; empty if nothing may.
    var filesWentBack: [String] = []
    /// Whether Redis was ever older than it had been: what is missing in the files, only living nodes can tell then.
    var redisWentBack = false
    var lines = [Lines(), Lines()]
    var bigs: [String: Big] = [:]
    /// Whether a replay of dead letters was killed: until the next one ends, their amounts may be in two places.
    var isReplayOpen = false

    mutating func lossIsDocumented() {
        for key in bigs.keys { bigs[key]?.isCertain = false }
    }

    static let linesOfImport = 12

    /// The keys of an import, whose sums are all 1.
    static func keys(ofImport file: Int) -> [String] { (0..<linesOfImport).map { "import \(file) \($0)" } }

    /// Its lines: three of each key.
    static func text(ofImport file: Int) -> String {
        [5, -3, -1].flatMap { value in keys(ofImport: file).map { "\($0)\t\(value)\n" } }.joined()
    }

    /// The difference between what was acknowledged of the big keys and where it is.
    func differences(_ counters: [String: Int64], letters: [CampaignLetter]) -> [String] {
        bigs.sorted { $0.key < $1.key }.compactMap { key, big in
            guard big.isCertain else { return nil }
            let dead = letters.filter { $0.key == key }.reduce(Int128(0)) { $0 + $1.sum }
            let counted = Int128(counters[key] ?? 0)
            if counted + dead + big.dropped == big.acknowledged { return nil }
            let found = "\(counted) counted + \(dead) dead + \(big.dropped) dropped"
            return "\(key): \(found), acknowledged \(big.acknowledged)"
        }
    }
}

/// A dead letter as `dead-letters list` shows it.
struct CampaignLetter {
    let key: String
    let sum: Int128
    let reason: String

    static func all(in json: [UInt8]) throws(HarnessError) -> [CampaignLetter] {
        (try JSONTree(json)["letters"]?.elements ?? []).map { tree in CampaignLetter(tree) }
    }

    init(_ tree: JSONTree) {
        key = tree["key"]?.text ?? ""
        sum = tree["sum"]?.integer() ?? 0
        reason = tree["reason"]?.text ?? ""
    }
}

/// What `audit --format json` says.
public struct CampaignAudit {
    public let residual: Int64
    public let missingBatches: Int
    /// Increments and batches that were accepted as lost.
    public private(set) var lostIncrements: Int64 = 0
    public private(set) var lostBatches: Int = 0
    /// Whether batches are named that nobody can say the contents of: those of an earlier epoch, or the last of a
    /// producer.
    public private(set) var namesUnknownLosses = false

    public init(_ json: [UInt8]) throws(HarnessError) {
        let tree = try JSONTree(json)
        guard let residual: Int64 = tree["residual"]?["increments"]?.integer(),
            let missing: Int = tree["missing_batches"]?.integer()
        else { throw HarnessError("the audit lacks a field: \(tail(String(decoding: json, as: UTF8.self)))") }
        self.residual = residual
        missingBatches = missing
        for stream in (tree["partitions"]?.elements ?? []).flatMap({ $0["streams"]?.elements ?? [] }) {
            lostIncrements += stream["lost"]?["increments"]?.integer() ?? 0
            lostBatches += stream["lost"]?["batches"]?.integer() ?? stream["lost_batches"]?.integer() ?? 0
            if (stream["lost_batches_unknown"]?.integer() ?? 0) > 0 { namesUnknownLosses = true }
        }
        if String(decoding: json, as: UTF8.self).contains(" declared lost") { namesUnknownLosses = true }
    }
}
