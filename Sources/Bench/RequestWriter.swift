// Requests as bytes. All of the head but one number, and the beginning of every key, are the same in all requests of a
// run and are made once; a request is their copies and some digits.

import ServiceKit
import TallyCore
import Tokens

/// An increment that waits for the answer to its request.
struct PendingIncrement: Hashable {
    /// The number of the key.
    let key: UInt32
    let delta: Int32
}

/// Makes the requests of one thread.
struct RequestWriter {
    private let body: LoadPlan.Body
    private let isSingle: Bool
    private let keys: UInt32
    /// All of the head before the body's length.
    private let head: [UInt8]
    /// What stands before a key's number, and between that and the delta.
    private let beforeKey: [UInt8]
    private let beforeDelta: [UInt8]
    private var random: SplitMix64
    private var content: [UInt8] = []

    /// - Parameter stream: threads of one run differ in it.
    init(_ plan: LoadPlan, stream: Int) {
        body = plan.body
        isSingle = plan.batch == 1
        keys = UInt32(plan.keys)
        random = SplitMix64(seed: plan.seed, stream: stream)
        let isCollection = plan.body == .lines || plan.batch > 1
        let level = plan.level == .queued ? "" : "?level=\(plan.level)"
        let authorization = plan.token.map { "Authorization: Bearer \($0.text)\r\n" } ?? ""
        head = Array(
            """
            POST /increment\(isCollection ? "s" : "")\(level) HTTP/1.1\r
            Host: \(plan.endpoint)\r
            Content-Type: \(Self.contentType(plan.body))\r
            \(authorization)Content-Length: 
            """.utf8)
        let prefix = Array(plan.keysPrefix.utf8)
        switch plan.body {
        case .form:
            beforeKey = Array("key=".utf8) + Self.percentEncoded(prefix)
            beforeDelta = Array("&value=".utf8)
        case .json:
            // Without the closing quote: the key's number follows.
            let quoted = Array(JSONText.quote(prefix).utf8.dropLast())
            beforeKey = isCollection ? quoted : Array(#"{"key":"#.utf8) + quoted
            beforeDelta = Array((isCollection ? #"":"# : #"","value":"#).utf8)
        case .lines:
            beforeKey = prefix
            // Not a space: the prefix may hold one, or be empty, and then the key is a number.
            beforeDelta = [UInt8(ascii: "\t")]
        }
    }

    /// Appends a request with one random increment for each element of `pending`, and puts the increments there.
    mutating func append(filling pending: UnsafeMutableBufferPointer<PendingIncrement>, to output: inout [UInt8]) {
        content.removeAll(keepingCapacity: true)
        if body == .json && !isSingle { content.append(UInt8(ascii: "{")) }
        for index in pending.indices {
            if body == .json && index > 0 { content.append(UInt8(ascii: ",")) }
            pending[index] = increment()
        }
        if body == .json { content.append(UInt8(ascii: "}")) }
        output.append(contentsOf: head)
        DecimalText.append(content.count, to: &output)
        output.append(contentsOf: [0x0D, 0x0A, 0x0D, 0x0A])
        output.append(contentsOf: content)
    }

    private mutating func increment() -> PendingIncrement {
        let span = UInt32(2 * LoadPlan.deltaMax + 1)
        let increment = PendingIncrement(
            key: random.below(keys), delta: Int32(random.below(span)) - LoadPlan.deltaMax)
        content.append(contentsOf: beforeKey)
        DecimalText.append(increment.key, to: &content)
        content.append(contentsOf: beforeDelta)
        DecimalText.append(increment.delta, to: &content)
        if body == .lines { content.append(0x0A) }
        return increment
    }

    private static func contentType(_ body: LoadPlan.Body) -> String {
        switch body {
        case .form: "application/x-www-form-urlencoded"
        case .json: "application/json"
        case .lines: "text/plain"
        }
    }

    private static func percentEncoded(_ bytes: [UInt8]) -> [UInt8] {
        bytes.flatMap { byte -> [UInt8] in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): [byte]
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: ":"): [byte]
            default: Array("%\(Hex.text([byte]))".utf8)
            }
        }
    }
}
