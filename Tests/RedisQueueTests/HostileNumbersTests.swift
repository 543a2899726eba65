// Numbers that no function answers with: an error, and not the end of the process that adds them up.

import TestSupport
import Testing

@testable import RedisQueue
@testable import TallyCore

@Suite struct HostileNumbersTests {
    private func answer(_ fields: [RedisReply]) throws -> FunctionAnswer {
        try FunctionAnswer(.array([.bytes(Array("OK".utf8))] + fields), to: .inspect)
    }

    @Test func integers() throws {
        let most = Int64(Limits.sequenceMax)
        #expect(try answer([.integer(most)]).integer(1) == Limits.sequenceMax)
        for value in [most + 1, .max, -1, .min] {
            #expect(throws: RedisError.self) { try answer([.integer(value)]).integer(1) }
            #expect(throws: RedisError.self) { try answer([.integer(value)]).count(1) }
        }
        #expect(throws: RedisError.self) { try answer([.integer(.min)]).signed(1) }
    }

    @Test func watermarksAndFloors() throws {
        let producer = [UInt8](repeating: 1, count: 16)
        for text in ["9007199254740992", "18446744073709551615", "-1", "", "1e3"] {
            let pair: [RedisReply] = [.bytes(producer), .bytes(Array(text.utf8))]
            #expect(throws: RedisError.self) { try answer([.array(pair)]).watermarks(1) }
        }
        let most = [UInt8](repeating: 255, count: 8)
        #expect(throws: RedisError.self) { try answer([.bytes(producer + most)]).floors(1) }
        #expect(throws: RedisError.self) { try answer([.bytes(producer + most + most)]).earlierFloors(1) }
    }

    /// What is in Redis itself, whoever wrote it.
    @Test func epochsThatNodesNote() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        for (text, isTaken) in [("2147483648", true), ("2147483649", false), ("4294967295", false)] {
            _ = try scene.connection.command(RedisCommand("HSET", scene.names.noted, Topology.ofTests.ownerText, text))
            let noted = try? scene.keys.notedEpochs(of: .ofTests)
            #expect((noted != nil) == isTaken)
        }
    }
}
