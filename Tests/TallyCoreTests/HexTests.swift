// Identities are printed and read back as hexadecimal digits; what is not exactly that is nothing.

import TallyCore
import Testing

@Suite struct HexTests {
    @Test func everyByteSurvives() {
        let all = Array(0...255) as [UInt8]
        #expect(Hex.text([0x00, 0x0F, 0xA5, 0xFF]) == "000fa5ff")
        #expect(Hex.bytes(Hex.text(all)) == all)
        #expect(Hex.bytes(Hex.text(all).uppercased()) == all)
        #expect(Hex.bytes("") == [])
    }

    @Test(arguments: ["0", "abc", "0g", "g0", " 0", "0x", "é", "+1", "-1"])
    func otherTextIsRefused(text: String) {
        #expect(Hex.bytes(text) == nil)
    }

    @Test func sixteenBytes() throws {
        let text = "000102030405060708090a0b0c0d0e0f"
        let bytes = try #require(Bytes16(text))
        #expect(bytes.array == Array(0...15))
        #expect(bytes == Bytes16(Array(0...15) as [UInt8]))
        #expect("\(ProducerID(bytes))" == text && "\(ShardUUID(bytes))" == text && "\(ClusterID(bytes))" == text)
        #expect(ShardUUID(text)?.bytes == bytes && ClusterID(text.uppercased())?.bytes == bytes)
        for wrong in ["", String(text.dropLast()), String(text.dropLast(2)), text + "00"] {
            #expect(Bytes16(wrong) == nil && ShardUUID(wrong) == nil && ClusterID(wrong) == nil)
        }
        #expect(Bytes16(Array(0...14) as [UInt8]) == nil && Bytes16(Array(0...16) as [UInt8]) == nil)
    }

    @Test func identitiesPrintAsMessagesNeedThem() {
        let id = CoreFixture.batchID(9, producer: 0xB, epoch: 3, partition: 5)
        #expect("\(id)" == "e3.p5 00000000000000aa000000000000000b 9")
    }

    @Test func amountsWrapInsteadOfTrapping() {
        let most = Amount(increments: .max, sum: .max)
        let one = Amount(increments: 1, sum: 1)
        #expect(most + one == Amount(increments: 0, sum: .min))
        #expect((most + one) - one == most)
    }
}
