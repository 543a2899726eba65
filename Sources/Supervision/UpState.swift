// What a running `up` says of itself: one line of JSON, the answer to `state` at its control socket.
//
//   {"pid":4711,"web":"http://127.0.0.1:3333","epoch":2,"partitions":7,"building":false,"consumers":"running",
//    "held":null,"restarts":{"redis":0,"consumer 0":1,"web":0}}
//
// `web`, `epoch` and `partitions` are null while they are not known. `held` is why the consumers are held, or have been
// asked to end. A newer release may add members; a reader skips what it does not know.

import TallyCore

/// A look at a running `up`.
public struct UpState: Hashable, Sendable {
    public enum Consumers: String, Hashable, Sendable {
        /// They run, or are about to.
        case running
        case ending
        case held
        /// The epoch is being built, and nobody holds them.
        case none
        /// `up` itself ends.
        case over
    }

    /// How often a process was started again.
    public struct Restarts: Hashable, Sendable {
        public let role: String
        public let count: Int

        public init(role: String, count: Int) {
            self.role = role
            self.count = count
        }
    }

    public var pid: Int32 = 0
    /// Where the web node listens, such as http://127.0.0.1:3333.
    public var web: String?
    public var epoch: UInt32?
    /// K of that epoch.
    public var partitions: Int?
    /// Whether the shards of that epoch are still being made.
    public var isBuilding = false
    public var consumers = Consumers.running
    public var heldFor: String?
    public var restarts: [Restarts] = []

    init() {}

    var json: String {
        let restarts = restarts.map { "\(JSONText.quote($0.role)):\($0.count)" }.joined(separator: ",")
        return #"{"pid":\#(pid),"web":\#(web.map { JSONText.quote($0) } ?? "null"),"#
            + #""epoch":\#(epoch.map { "\($0)" } ?? "null"),"partitions":\#(partitions.map { "\($0)" } ?? "null"),"#
            + #""building":\#(isBuilding),"consumers":\#(JSONText.quote(consumers.rawValue)),"#
            + #""held":\#(heldFor.map { JSONText.quote($0) } ?? "null"),"restarts":{\#(restarts)}}"#
    }

    /// nil if it is no such text.
    init?(json: String) {
        var read: UpState?
        Array(json.utf8).withUnsafeBytes { bytes in
            var scanner = JSONScanner(bytes)
            read = try? UpState(&scanner)  // where it is wrong helps nobody: both sides are of this product
        }
        guard let read else { return nil }
        self = read
    }

    private init(_ scanner: inout JSONScanner) throws(JSONError) {
        var name: [UInt8] = []
        try scanner.beginObject()
        while try scanner.nextName(into: &name) {
            if try scanner.nextKind() == .null {
                try scanner.null()
                continue
            }
            switch String(decoding: name, as: UTF8.self) {
            case "pid": pid = Int32(truncatingIfNeeded: try scanner.integer())
            case "web": web = try Self.string(&scanner)
            case "epoch": epoch = UInt32(exactly: try scanner.integer())
            case "partitions": partitions = Int(try scanner.integer())
            case "building": isBuilding = try scanner.boolean()
            case "consumers": consumers = Consumers(rawValue: try Self.string(&scanner)) ?? .running
            case "held": heldFor = try Self.string(&scanner)
            case "restarts": restarts = try Self.restarts(&scanner)
            default: try scanner.skip()
            }
        }
        try scanner.finish()
    }

    private static func restarts(_ scanner: inout JSONScanner) throws(JSONError) -> [Restarts] {
        var found: [Restarts] = []
        var name: [UInt8] = []
        try scanner.beginObject()
        while try scanner.nextName(into: &name) {
            let role = String(decoding: name, as: UTF8.self)
            found.append(Restarts(role: role, count: Int(try scanner.integer())))
        }
        return found
    }

    private static func string(_ scanner: inout JSONScanner) throws(JSONError) -> String {
        var bytes: [UInt8] = []
        try scanner.string(into: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
