// Writes a JSON object field by field: the order is the writer's, the quoting is not.
//
// Names are the same wherever the same thing is meant: `batches` and `bytes` wait in a queue, the oldest of them for
// `lag_ms`; `total` is a sum of counters; `where`, `what` and `advice` tell what is wrong. Times and durations end in
// `_ms`, rates in `_per_s`.

/// An object that grows. Values that are nil become `null`.
public struct JSONObject {
    private var fields: [String] = []

    public init() {}

    public var text: String { "{\(fields.joined(separator: ","))}" }

    public mutating func add(_ name: String, _ value: some BinaryInteger) { add(name, json: "\(value)") }
    public mutating func add(_ name: String, _ value: (some BinaryInteger)?) {
        add(name, json: value.map { "\($0)" } ?? "null")
    }
    public mutating func add(_ name: String, _ value: Double?) { add(name, json: value.map { "\($0)" } ?? "null") }
    public mutating func add(_ name: String, _ value: Bool) { add(name, json: "\(value)") }
    public mutating func add(_ name: String, _ value: String?) {
        add(name, json: value.map { JSONText.quote($0) } ?? "null")
    }
    public mutating func add(_ name: String, _ value: JSONObject) { add(name, json: value.text) }

    public mutating func add(_ name: String, _ values: [JSONObject]) {
        add(name, json: "[\(values.map(\.text).joined(separator: ","))]")
    }

    public mutating func add(_ name: String, _ values: [String]) {
        add(name, json: "[\(values.map { JSONText.quote($0) }.joined(separator: ","))]")
    }

    /// A sum of counters.
    public mutating func addTotal(_ total: Int128) { fields.append(JSONText.total(total)) }

    private mutating func add(_ name: String, json: String) {
        fields.append("\(JSONText.quote(name)):\(json)")
    }
}

extension JSONText {
    /// The member `total`. It has all its digits; where these are more than a signed 64-bit integer holds, another
    /// member says so to whoever would cut them off.
    public static func total(_ total: Int128) -> String {
        let isWide = Int64(exactly: total) == nil
        return #""total":\#(total)"# + (isWide ? #","total_beyond_int64":true"# : "")
    }
}
