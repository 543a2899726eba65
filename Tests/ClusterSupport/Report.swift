// What `tallymill report --format json` says, as a value, with its exit code beside it.

/// A report.
public struct Report {
    public let code: Int32
    public let partitions: Int
    public let keys: Int
    public let total: Int128
    public let isPartial: Bool
    public let missing: [Int]
    public let counters: [String: Int64]

    /// Runs the command on a data folder.
    ///
    /// - Throws: if it ends with anything but 0 and 3, or does not print what the contract says.
    public static func read(_ dataFolder: String, _ options: [String] = []) throws(HarnessError) -> Report {
        let arguments = ["report", "--data-dir", dataFolder, "--format", "json"] + options
        let result = try Command.tallymill(arguments, within: 60)
        guard result.code == 0 || result.code == 3 else {
            throw HarnessError("report ended with \(result.code): \(tail(result.errorText))")
        }
        return try Report(json: result.output, code: result.code)
    }

    init(json: [UInt8], code: Int32) throws(HarnessError) {
        let tree = try JSONTree(json)
        guard tree["cluster"]?.text != nil, let _: Int = tree["epoch"]?.integer(),
            let partitions: Int = tree["partitions"]?.integer(), let keys: Int = tree["keys"]?.integer(),
            let total: Int128 = tree["total"]?.integer(), let partial = tree["partial"],
            let missing = tree["missing"]
        else { throw HarnessError("the report lacks a field: \(String(decoding: json.prefix(300), as: UTF8.self))") }
        var counters: [String: Int64] = [:]
        for counter in tree["counters"]?.elements ?? [] {
            guard let key = counter["key"]?.text, let value: Int64 = counter["value"]?.integer() else {
                throw HarnessError("the report has a counter that is none: \(counter)")
            }
            guard counters.updateValue(value, forKey: key) == nil else {
                throw HarnessError("the report has \(key) twice")
            }
        }
        self.code = code
        self.partitions = partitions
        self.keys = keys
        self.total = total
        self.isPartial = partial.isTrue
        self.missing = missing.elements.compactMap { $0.integer() }
        self.counters = counters
    }

    /// The sum of the counters that it lists.
    public var sum: Int128 { counters.values.reduce(0) { $0 + Int128($1) } }
}
