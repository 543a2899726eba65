import TallyCore
import Testing

/// The text of the authority: what is written is read, and nothing else is.
@Suite struct ClusterFileTests {
    static let cluster = ClusterID("00112233445566778899aabbccddeeff")
    static let text =
        #"{"format":1,"cluster":"00112233445566778899aabbccddeeff","epoch":3,"partitions":8,"state":"building","#
        + #""earlier":[{"epoch":1,"partitions":4},{"epoch":2,"partitions":7}]}"# + "\n"

    @Test func roundTrip() throws {
        let topology = Topology(cluster: try #require(Self.cluster), epoch: 3, partitions: 8)
        let file = ClusterFile(
            topology: topology, state: .building,
            earlier: [.init(epoch: 1, partitions: 4), .init(epoch: 2, partitions: 7)])
        #expect(file.json == Self.text)
        #expect(try ClusterFile(json: Array(Self.text.utf8)) == file)
        #expect(try Topology(json: Array(topology.json.utf8)) == topology)
    }

    @Test func purgedEpochsStay() throws {
        let text = Self.text.replacing(#""partitions":4}"#, with: #""partitions":4,"purged":true}"#)
        let file = try ClusterFile(json: Array(text.utf8))
        #expect(file.earlier.map(\.isPurged) == [true, false])
        #expect(file.json == text)
        #expect(file.earlier[0].partitionIDs.count == 4)
    }

    @Test(arguments: [
        (#""format":1"#, #""format":2"#, "format 2 is not the one of this release, 1"),
        (#""epoch":3"#, #""epoch":0"#, "epoch is out of range"),
        (#""epoch":3"#, #""epoch":2"#, "earlier is out of range"),
        (#""partitions":8"#, #""partitions":1025"#, "partitions is out of range"),
        (#""partitions":8"#, #""partitions":0"#, "partitions is out of range"),
        ("ddeeff", "ddeef", "cluster is out of range"),
        ("building", "done", "state is out of range"),
        (#""state":"building","#, "", "state is missing"),
        (#""state":"#, #""mood":"ready","state":"#, "mood is unknown: it may come from a newer release"),
        ("]}", "]", "the JSON ends too early at byte 167"),
        ("}\n", "}}", "bytes after the end of the JSON at byte 167"),
    ])
    func refusals(part: String, replacement: String, message: String) {
        var bytes = Array(Self.text.utf8)
        let range = Self.find(part, in: bytes)
        bytes.replaceSubrange(range, with: replacement.utf8)
        let error = #expect(throws: ClusterFileError.self) { try ClusterFile(json: bytes) }
        #expect(error?.description == message)
    }

    /// The last place of `part`.
    static func find(_ part: String, in bytes: [UInt8]) -> Range<Int> {
        let needle = Array(part.utf8)
        let start = (0...bytes.count - needle.count).last { Array(bytes[$0..<$0 + needle.count]) == needle } ?? 0
        return start..<start + needle.count
    }
}
