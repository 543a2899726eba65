// The ledger of a producer as JSON, written and read. A reader ignores members that it does not know: a node of a newer
// release may say more. The text is described in ProducerLedger.swift.

extension ProducerLedger {
    public var json: String {
        let rows = partitions.map { partition in
            #"{"partition":\#(partition.number),"frozen":\#(partition.frozen),"confirmed":\#(partition.confirmed),"#
                + #""stored":\#(partition.stored),"admitted":\#(Self.json(partition.admitted)),"#
                + #""unpushed":\#(Self.json(partition.unpushed))}"#
        }
        return #"{"loop":\#(loop),"loops":\#(loops),"producer":"\#(producer)","epoch":\#(epoch),"#
            + #""partitions":[\#(rows.joined(separator: ","))]}"#
    }

    private static func json(_ amount: Amount) -> String {
        #"{"increments":\#(amount.increments),"sum":\#(amount.sum)}"#
    }

    /// - Throws: `ClusterFileError` that says what is wrong with the text.
    public init(json: [UInt8]) throws(ClusterFileError) {
        let read = json.withUnsafeBytes { bytes in
            Result { () throws(ClusterFileError) in
                var reader = ProducerLedgerReader(bytes)
                return try reader.read()
            }
        }
        self = try read.get()
    }
}

/// Reads one text.
private struct ProducerLedgerReader {
    private let bytes: UnsafeRawBufferPointer
    private var scanner: JSONScanner

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        scanner = JSONScanner(bytes)
    }

    mutating func read() throws(ClusterFileError) -> ProducerLedger {
        var numbers: [String: Int128] = [:]
        var producer: ProducerID?
        var partitions: [ProducerLedger.Partition]?
        try object { name, reader throws(ClusterFileError) in
            switch name {
            case "producer": producer = try reader.producer()
            case "partitions": partitions = try reader.partitions()
            case "loop", "loops", "epoch": numbers[name] = try reader.number()
            default: try reader.skip()
            }
        }
        try json { scanner throws(JSONError) in try scanner.finish() }
        guard let producer else { throw .missing("producer") }
        guard let partitions else { throw .missing("partitions") }
        let loops: Int = try field("loops", numbers)
        let loop: Int = try field("loop", numbers)
        guard loop < loops else { throw .badValue("loop") }
        return ProducerLedger(
            loop: loop, loops: loops, producer: producer, epoch: try field("epoch", numbers), partitions: partitions)
    }

    private mutating func producer() throws(ClusterFileError) -> ProducerID {
        var text: [UInt8] = []
        try json { scanner throws(JSONError) in try scanner.string(into: &text) }
        guard let bytes = Bytes16(String(decoding: text, as: UTF8.self)) else { throw .badValue("producer") }
        return ProducerID(bytes)
    }

    private mutating func partitions() throws(ClusterFileError) -> [ProducerLedger.Partition] {
        var partitions: [ProducerLedger.Partition] = []
        try json { scanner throws(JSONError) in try scanner.beginArray() }
        while try json({ scanner throws(JSONError) in try scanner.nextElement() }) {
            partitions.append(try partition())
        }
        return partitions
    }

    private mutating func partition() throws(ClusterFileError) -> ProducerLedger.Partition {
        var numbers: [String: Int128] = [:]
        var amounts: [String: Amount] = [:]
        try object { name, reader throws(ClusterFileError) in
            switch name {
            case "admitted", "unpushed": amounts[name] = try reader.amount()
            case "partition", "frozen", "confirmed", "stored": numbers[name] = try reader.number()
            default: try reader.skip()
            }
        }
        guard let admitted = amounts["admitted"] else { throw .missing("admitted") }
        guard let unpushed = amounts["unpushed"] else { throw .missing("unpushed") }
        return ProducerLedger.Partition(
            number: try field("partition", numbers), frozen: try field("frozen", numbers),
            confirmed: try field("confirmed", numbers), stored: try field("stored", numbers), admitted: admitted,
            unpushed: unpushed)
    }

    private mutating func amount() throws(ClusterFileError) -> Amount {
        var numbers: [String: Int128] = [:]
        try object { name, reader throws(ClusterFileError) in
            switch name {
            case "increments", "sum": numbers[name] = try reader.number()
            default: try reader.skip()
            }
        }
        return Amount(increments: try field("increments", numbers), sum: try field("sum", numbers))
    }

    private func field<Number: FixedWidthInteger>(
        _ name: String, _ numbers: [String: Int128]
    ) throws(ClusterFileError) -> Number {
        guard let value = numbers[name] else { throw .missing(name) }
        guard let number = Number(exactly: value) else { throw .badValue(name) }
        return number
    }

    /// Calls `member` with each name of an object, to read the value behind it.
    private mutating func object(
        _ member: (String, inout ProducerLedgerReader) throws(ClusterFileError) -> Void
    ) throws(ClusterFileError) {
        var name: [UInt8] = []
        try json { scanner throws(JSONError) in try scanner.beginObject() }
        while try json({ scanner throws(JSONError) in try scanner.nextName(into: &name) }) {
            try member(String(decoding: name, as: UTF8.self), &self)
        }
    }

    /// A whole number of up to 128 bits.
    private mutating func number() throws(ClusterFileError) -> Int128 {
        // The kind is asked for so that the offset stands on the number's first byte.
        let kind = try json { scanner throws(JSONError) in try scanner.nextKind() }
        let start = scanner.offset
        try skip()
        guard kind == .number, let value = Int128(String(decoding: bytes[start..<scanner.offset], as: UTF8.self)) else {
            throw .badValue("the number at byte \(start)")
        }
        return value
    }

    private mutating func skip() throws(ClusterFileError) {
        try json { scanner throws(JSONError) in try scanner.skip() }
    }

    private mutating func json<Value>(
        _ body: (inout JSONScanner) throws(JSONError) -> Value
    ) throws(ClusterFileError) -> Value {
        do throws(JSONError) { return try body(&scanner) } catch { throw .syntax(error) }
    }
}
