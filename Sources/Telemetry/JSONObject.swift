// Writes a JSON object field by field: the order is the writer's, the quoting is not.

import TallyCore

/// An object that grows. Values that are nil become `null`.
struct JSONObject {
    private var fields: [String] = []

    var text: String { "{\(fields.joined(separator: ","))}" }

    mutating func add(_ name: String, _ value: some BinaryInteger) { add(name, json: "\(value)") }
    mutating func add(_ name: String, _ value: (some BinaryInteger)?) {
        add(name, json: value.map { "\($0)" } ?? "null")
    }
    mutating func add(_ name: String, _ value: Double?) { add(name, json: value.map { "\($0)" } ?? "null") }
    mutating func add(_ name: String, _ value: Bool) { add(name, json: "\(value)") }
    mutating func add(_ name: String, _ value: String?) { add(name, json: value.map { JSONText.quote($0) } ?? "null") }
    mutating func add(_ name: String, _ value: JSONObject) { add(name, json: value.text) }

    mutating func add(_ name: String, _ values: [JSONObject]) {
        add(name, json: "[\(values.map(\.text).joined(separator: ","))]")
    }

    private mutating func add(_ name: String, json: String) {
        fields.append("\(JSONText.quote(name)):\(json)")
    }
}
