// `manifest.json` of a backup: what it holds, so that it can be checked without the cluster that it came from.
//
// Text, one line:
//   {"format":1,"cluster":"<32 hex digits>","epoch":2,"partitions":4,"time_ms":1763716618123,"release":"0.1.0",
//    "shards":[{"file":"shard-0000-of-0004.sqlite","uuid":"<32 hex digits>","bytes":40960,"xxh64":"<16 hex digits>",
//               "keys":12,"total":"34","watermarks":3}]}
//
// A total has up to 128 bits and is text. The shards are those of all partitions, in order. An unknown member or a
// higher format is refused: who restores must know everything that belongs to a backup.

public import TallyCore

/// The content of a backup.
public struct BackupManifest: Hashable, Sendable {
    /// One file.
    public struct Shard: Hashable, Sendable {
        public let file: String
        public let uuid: ShardUUID
        public let bytes: Int
        /// XXH64 of the file.
        public let hash: UInt64
        public let keys: Int
        public let total: Int128
        /// Streams of which the file has a watermark.
        public let watermarks: Int
    }

    public static let format = 1
    public static let fileName = "manifest.json"
    public let topology: Topology
    /// When the last copy was complete, in ms since 1970.
    public let milliseconds: Int64
    /// The release that made it.
    public let release: String
    public let shards: [Shard]

    public var keys: Int { shards.reduce(0) { $0 + $1.keys } }
    public var total: Int128 { shards.reduce(0) { $0 + $1.total } }
    public var bytes: Int { shards.reduce(0) { $0 + $1.bytes } }

    init(topology: Topology, milliseconds: Int64, release: String, shards: [Shard]) {
        self.topology = topology
        self.milliseconds = milliseconds
        self.release = release
        self.shards = shards
    }

    public var json: String {
        let rows = shards.map { shard in
            #"{"file":\#(JSONText.quote(shard.file)),"uuid":"\#(shard.uuid)","bytes":\#(shard.bytes),"#
                + #""xxh64":"\#(Self.text(shard.hash))","keys":\#(shard.keys),"total":"\#(shard.total)","#
                + #""watermarks":\#(shard.watermarks)}"#
        }
        return #"{"format":\#(Self.format),"cluster":"\#(topology.cluster)","epoch":\#(topology.epoch),"#
            + #""partitions":\#(topology.partitions),"time_ms":\#(milliseconds),"#
            + #""release":\#(JSONText.quote(release)),"shards":[\#(rows.joined(separator: ","))]}"# + "\n"
    }

    /// What a command says of it.
    public func summary(in folder: String) -> JSONObject {
        var object = JSONObject()
        object.add("cluster", topology.cluster.description)
        object.add("epoch", topology.epoch)
        object.add("partitions", topology.partitions)
        object.add("keys", keys)
        object.addTotal(total)
        object.add("bytes", bytes)
        object.add("time_ms", milliseconds)
        object.add("backup", folder)
        return object
    }

    static func text(_ hash: UInt64) -> String {
        Hex.text(withUnsafeBytes(of: hash.bigEndian) { Array($0) })
    }

    /// - Throws: `ManifestError` that says what is wrong with the text.
    public init(json: [UInt8]) throws(ManifestError) {
        var fields = ManifestFields()
        var failure: ManifestError?
        json.withUnsafeBytes { bytes in
            do throws(ManifestError) { try fields.read(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
        let format = try fields.integer("format")
        guard format == Self.format else { throw .newerFormat(format) }
        guard let cluster = ClusterID(try fields.text("cluster")) else { throw .badValue("cluster") }
        guard let epoch = UInt32(exactly: try fields.integer("epoch")), epoch >= 1 else { throw .badValue("epoch") }
        let partitions = Int(try fields.integer("partitions"))
        guard (1...Limits.partitionsMax).contains(partitions) else { throw .badValue("partitions") }
        topology = Topology(cluster: cluster, epoch: epoch, partitions: partitions)
        milliseconds = try fields.integer("time_ms")
        release = try fields.text("release")
        shards = try fields.shards.map { fields throws(ManifestError) in try Shard(fields) }
        let names = topology.partitionIDs.map { DataFolder.shardName($0, of: partitions) }
        guard shards.map(\.file) == names else { throw .badValue("shards") }
    }
}

extension BackupManifest.Shard {
    fileprivate init(_ fields: ManifestFields) throws(ManifestError) {
        file = try fields.text("file")
        guard let uuid = ShardUUID(try fields.text("uuid")) else { throw .badValue("uuid") }
        self.uuid = uuid
        guard let hash = Hex.bytes(try fields.text("xxh64")), hash.count == 8 else { throw .badValue("xxh64") }
        self.hash = hash.reduce(0) { $0 << 8 | UInt64($1) }
        guard let total = Int128(try fields.text("total")) else { throw .badValue("total") }
        self.total = total
        bytes = try fields.count("bytes")
        keys = try fields.count("keys")
        watermarks = try fields.count("watermarks")
    }
}

/// Why a text is no manifest.
public enum ManifestError: Error, Hashable, Sendable, CustomStringConvertible {
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
        case .newerFormat(let format): "format \(format) is not the one of this release, \(BackupManifest.format)"
        }
    }
}

/// The members of the text or of one shard in it, by name.
private struct ManifestFields {
    private var texts: [String: String] = [:]
    private var integers: [String: Int64] = [:]
    var shards: [ManifestFields] = []

    private static let textNames: Set<String> = ["cluster", "release", "file", "uuid", "xxh64", "total"]
    private static let integerNames: Set<String> = [
        "format", "epoch", "partitions", "time_ms", "bytes", "keys", "watermarks",
    ]

    mutating func read(_ bytes: UnsafeRawBufferPointer) throws(ManifestError) {
        var scanner = JSONScanner(bytes)
        try read(&scanner)
        try json { () throws(JSONError) in try scanner.finish() }
    }

    private mutating func read(_ scanner: inout JSONScanner) throws(ManifestError) {
        var scratch: [UInt8] = []
        try json { () throws(JSONError) in try scanner.beginObject() }
        while try json({ () throws(JSONError) in try scanner.nextName(into: &scratch) }) {
            let name = String(decoding: scratch, as: UTF8.self)
            if Self.textNames.contains(name) {
                try json { () throws(JSONError) in try scanner.string(into: &scratch) }
                texts[name] = String(decoding: scratch, as: UTF8.self)
            } else if Self.integerNames.contains(name) {
                integers[name] = try json { () throws(JSONError) in try scanner.integer() }
            } else if name == "shards" {
                try json { () throws(JSONError) in try scanner.beginArray() }
                while try json({ () throws(JSONError) in try scanner.nextElement() }) {
                    var fields = ManifestFields()
                    try fields.read(&scanner)
                    shards.append(fields)
                }
            } else {
                throw .unknown(name)
            }
        }
    }

    func text(_ name: String) throws(ManifestError) -> String {
        guard let text = texts[name] else { throw .missing(name) }
        return text
    }

    func integer(_ name: String) throws(ManifestError) -> Int64 {
        guard let integer = integers[name] else { throw .missing(name) }
        return integer
    }

    func count(_ name: String) throws(ManifestError) -> Int {
        let integer = try integer(name)
        guard integer >= 0 else { throw .badValue(name) }
        return Int(integer)
    }

    private func json<Value>(_ body: () throws(JSONError) -> Value) throws(ManifestError) -> Value {
        do throws(JSONError) { return try body() } catch { throw .syntax(error) }
    }
}
