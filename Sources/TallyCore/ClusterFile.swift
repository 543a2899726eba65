// `topology.json` beside the shards: the authority on epoch and K.
//
// Text: {"format":1,"cluster":"<32 hex digits>","epoch":2,"partitions":8,"state":"ready",
//        "earlier":[{"epoch":1,"partitions":4,"purged":true}],"change":"<32 hex digits>","imports":["<32 hex digits>"]}
//
// `change` is the random id of the change of epoch that made the present one: where everything is put back to before a
// change, the same epoch may come again, and its shards are others. A first epoch has none, nor one that an earlier
// release made.
//
// `imports` names what was loaded directly, and is left out if nothing was. While the epoch is building, `importing`
// names what comes in with it. `purged`, left out otherwise, says that the files of an epoch are gone; it stays here
// because a Redis that goes back may still bring batches of it.
//
// It is replaced as a whole (write, fsync, rename). A newer release may add fields, so an unknown field or a higher
// format is refused: this file decides where counts go.

/// The cluster's epochs.
public struct ClusterFile: Hashable, Sendable {
    public enum State: String, Hashable, Sendable {
        /// The shards of the epoch are being made.
        case building
        case ready
    }

    public struct Epoch: Hashable, Sendable {
        public let epoch: UInt32
        public let partitions: Int
        /// Whether its files were deleted.
        public var isPurged: Bool

        public init(epoch: UInt32, partitions: Int, isPurged: Bool = false) {
            self.epoch = epoch
            self.partitions = partitions
            self.isPurged = isPurged
        }

        /// All partitions of the epoch, in order.
        public var partitionIDs: [PartitionID] {
            (0..<UInt32(partitions)).map { PartitionID(epoch: epoch, number: $0) }
        }
    }

    public static let format = 1
    public let topology: Topology
    public var state: State
    /// Of the change of epoch that made the present one; nil for a first epoch, and for one that an earlier release
    /// made.
    public let change: Bytes16?
    /// Earlier epochs, oldest first.
    public var earlier: [Epoch]
    /// What was loaded directly, oldest first.
    public var imports: [Bytes16]
    /// What is being loaded with this epoch.
    public var importing: Bytes16?

    public init(
        topology: Topology, state: State, earlier: [Epoch], change: Bytes16? = nil, imports: [Bytes16] = [],
        importing: Bytes16? = nil
    ) {
        self.topology = topology
        self.state = state
        self.change = change
        self.earlier = earlier
        self.imports = imports
        self.importing = importing
    }

    /// The topology of a partition's epoch; the present one if that is not known.
    public func topology(of partition: PartitionID) -> Topology {
        guard let old = earlier.first(where: { $0.epoch == partition.epoch }) else { return topology }
        return Topology(cluster: topology.cluster, epoch: old.epoch, partitions: old.partitions)
    }

    public var json: String {
        let epochs = earlier.map {
            #"{"epoch":\#($0.epoch),"partitions":\#($0.partitions)\#($0.isPurged ? #","purged":true"# : "")}"#
        }
        return #"{"format":\#(ClusterFile.format),"cluster":"\#(topology.cluster)","epoch":\#(topology.epoch),"#
            + #""partitions":\#(topology.partitions),"state":"\#(state.rawValue)","#
            + #""earlier":[\#(epochs.joined(separator: ","))]"# + (change.map { #","change":"\#($0)""# } ?? "")
            + importsJSON + "}\n"
    }

    private var importsJSON: String {
        let list = imports.map { #""\#($0)""# }.joined(separator: ",")
        return (imports.isEmpty ? "" : #","imports":[\#(list)]"#) + (importing.map { #","importing":"\#($0)""# } ?? "")
    }

    /// - Throws: `ClusterFileError` that says what is wrong with the text.
    public init(json: [UInt8]) throws(ClusterFileError) {
        let fields = try ClusterFields(json)
        guard let format = fields.format else { throw .missing("format") }
        guard format == ClusterFile.format else { throw .newerFormat(format) }
        guard let cluster = fields.cluster else { throw .missing("cluster") }
        guard let epoch = fields.epoch else { throw .missing("epoch") }
        guard let partitions = fields.partitions else { throw .missing("partitions") }
        guard let state = fields.state else { throw .missing("state") }
        let epochs = fields.earlier.map(\.epoch) + [epoch]
        guard zip(epochs, epochs.dropFirst()).allSatisfy({ $0 < $1 }) else { throw .badValue("earlier") }
        self.init(
            topology: Topology(cluster: cluster, epoch: epoch, partitions: partitions), state: state,
            earlier: fields.earlier, change: fields.change, imports: fields.imports, importing: fields.importing)
    }

    /// The identity of the shard of a partition of the present epoch, if a change made it.
    public func derivedShard(of partition: PartitionID) -> ShardUUID {
        ShardUUID(derivedFor: partition, of: topology.cluster, change: change)
    }
}

/// Why a text is no cluster file or topology.
public enum ClusterFileError: Error, Hashable, Sendable, CustomStringConvertible {
    case syntax(JSONError)
    case missing(String)
    case unknown(String)
    case badValue(String)
    case newerFormat(Int64)

    public var description: String {
        switch self {
        case .syntax(let error): error.description
        case .missing(let name): "\(name) is missing"
        case .unknown(let name): "\(name) is unknown: it may come from a newer release"
        case .badValue(let name): "\(name) is out of range"
        case .newerFormat(let format): "format \(format) is not the one of this release, \(ClusterFile.format)"
        }
    }
}

/// The members that a topology and a cluster file may have.
struct ClusterFields {
    private(set) var format: Int64?
    private(set) var cluster: ClusterID?
    private(set) var epoch: UInt32?
    private(set) var partitions: Int?
    private(set) var state: ClusterFile.State?
    private(set) var earlier: [ClusterFile.Epoch] = []
    private(set) var isPurged: Bool?
    private(set) var change: Bytes16?
    private(set) var imports: [Bytes16] = []
    private(set) var importing: Bytes16?

    init(_ text: [UInt8]) throws(ClusterFileError) {
        self.init()
        var failure: ClusterFileError?
        text.withUnsafeBytes { bytes in
            do throws(ClusterFileError) {
                var scanner = JSONScanner(bytes)
                try read(&scanner)
                try json { () throws(JSONError) in try scanner.finish() }
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private init() {}

    private mutating func read(_ scanner: inout JSONScanner) throws(ClusterFileError) {
        var name: [UInt8] = []
        try json { () throws(JSONError) in try scanner.beginObject() }
        while try json({ () throws(JSONError) in try scanner.nextName(into: &name) }) {
            try member(String(decoding: name, as: UTF8.self), &scanner)
        }
    }

    private mutating func member(_ name: String, _ scanner: inout JSONScanner) throws(ClusterFileError) {
        switch name {
        case "format": format = try integer(&scanner)
        case "cluster": cluster = try ClusterID(string(&scanner)).orThrow(.badValue(name))
        case "epoch":
            epoch = try UInt32(exactly: integer(&scanner)).flatMap { $0 >= 1 ? $0 : nil }
                .orThrow(.badValue(name))
        case "partitions":
            let value = try integer(&scanner)
            guard (1...Int64(Limits.partitionsMax)).contains(value) else { throw .badValue(name) }
            partitions = Int(value)
        case "state": state = try ClusterFile.State(rawValue: string(&scanner)).orThrow(.badValue(name))
        case "earlier":
            try json { () throws(JSONError) in try scanner.beginArray() }
            while try json({ () throws(JSONError) in try scanner.nextElement() }) {
                var fields = ClusterFields()
                try fields.read(&scanner)
                guard let epoch = fields.epoch, let partitions = fields.partitions else { throw .badValue(name) }
                earlier.append(
                    ClusterFile.Epoch(epoch: epoch, partitions: partitions, isPurged: fields.isPurged ?? false))
            }
        case "purged": isPurged = try json { () throws(JSONError) in try scanner.boolean() }
        case "change": change = try Bytes16(string(&scanner)).orThrow(.badValue(name))
        case "importing": importing = try Bytes16(string(&scanner)).orThrow(.badValue(name))
        case "imports":
            try json { () throws(JSONError) in try scanner.beginArray() }
            while try json({ () throws(JSONError) in try scanner.nextElement() }) {
                imports.append(try Bytes16(string(&scanner)).orThrow(.badValue(name)))
            }
        default: throw .unknown(name)
        }
    }

    private func integer(_ scanner: inout JSONScanner) throws(ClusterFileError) -> Int64 {
        try json { () throws(JSONError) in try scanner.integer() }
    }

    private func string(_ scanner: inout JSONScanner) throws(ClusterFileError) -> String {
        var bytes: [UInt8] = []
        try json { () throws(JSONError) in try scanner.string(into: &bytes) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func json<Value>(_ body: () throws(JSONError) -> Value) throws(ClusterFileError) -> Value {
        do throws(JSONError) { return try body() } catch { throw .syntax(error) }
    }
}

extension Optional {
    fileprivate func orThrow(_ error: ClusterFileError) throws(ClusterFileError) -> Wrapped {
        guard let self else { throw error }
        return self
    }
}
