// What is put on the wire is what Redis reads, argument by argument.

import TallyCore
import TestSupport
import Testing

@testable import RedisQueue

@Suite struct RedisCommandTests {
    private let server: RedisServer
    private let connection: RedisConnection

    init() throws {
        server = try RedisServer()
        connection = try server.connect()
    }

    /// The arguments as Redis got them.
    private func echo(_ fill: (inout RedisCommand) -> Void) throws -> [[UInt8]] {
        var command = RedisCommand("EVAL", "return ARGV", "0")
        fill(&command)
        guard case .array(let elements) = try connection.command(command) else { return [] }
        return elements.map { if case .bytes(let bytes) = $0 { bytes } else { [] } }
    }

    @Test func textsAndBytes() throws {
        let all = Array(UInt8.min...UInt8.max)
        #expect(
            try echo {
                $0.append("")
                $0.append("é\r\n$3")
                $0.append(all)
                $0.append([UInt8]())
                $0.append(littleEndian: 0x0102_0304_0506_0708)
            } == [[], Array("é\r\n$3".utf8), all, [], [8, 7, 6, 5, 4, 3, 2, 1]])
    }

    @Test func integers() throws {
        let values: [Int64] = [0, 1, 9, 10, 99, 100, -1, -9, -10, .max, .min]
        #expect(try echo { for value in values { $0.append(value) } } == values.map { Array("\($0)".utf8) })
        #expect(try echo { $0.append(UInt64.max) } == [Array("\(UInt64.max)".utf8)])
    }

    /// A payload lies where it was appended, at the beginning, in the middle and at the end.
    @Test(arguments: [0, 1, 3 << 20]) func payloads(count: Int) throws {
        let payload = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        for position in 0...2 {
            let got = try echo { command in
                for index in 0...2 {
                    if index == position { command.append(payload: payload) } else { command.append("\(index)") }
                }
            }
            #expect(got.count == 3)
            #expect(got[position] == payload)
            for index in 0...2 where index != position { #expect(got[index] == Array("\(index)".utf8)) }
        }
    }

    /// Commands that begin alike share nothing but their beginning.
    @Test func aCommonBeginning() throws {
        let beginning = RedisCommand("EVAL", "return ARGV", "0")
        for number in 0..<3 {
            var command = beginning
            command.append(number)
            #expect(try connection.command(command) == .array([.bytes(Array("\(number)".utf8))]))
        }
    }

    @Test func aPipeline() throws {
        for number in 0..<100 {
            var command = RedisCommand("ECHO")
            command.append(payload: [UInt8](repeating: UInt8(number), count: number * 1_000))
            try connection.send(command)
        }
        for number in 0..<100 {
            #expect(try connection.receive() == .bytes([UInt8](repeating: UInt8(number), count: number * 1_000)))
        }
    }
}
