import ServiceKit
import TallyCore
import Testing
import Tokens

@testable import Bench

@Suite struct RequestWriterTests {
    private static func plan(_ body: LoadPlan.Body, batch: Int = 1, prefix: String = "b:") -> LoadPlan {
        var plan = LoadPlan(seed: 7, keysPrefix: prefix)
        plan.body = body
        plan.batch = batch
        plan.keys = 100
        return plan
    }

    private static func request(_ plan: LoadPlan, stream: Int = 0) -> (text: String, increments: [PendingIncrement]) {
        var writer = RequestWriter(plan, stream: stream)
        var increments = Array(repeating: PendingIncrement(key: 0, delta: 0), count: plan.batch)
        var bytes: [UInt8] = []
        increments.withUnsafeMutableBufferPointer { writer.append(filling: $0, to: &bytes) }
        return (String(decoding: bytes, as: UTF8.self), increments)
    }

    @Test func aTokenStandsInTheHead() {
        var plan = Self.plan(.form)
        plan.token = TokenSecret("tm_x")
        let (form, one) = Self.request(plan)
        let content = "key=b:\(one[0].key)&value=\(one[0].delta)"
        #expect(
            form.hasSuffix(
                "form-urlencoded\r\nAuthorization: Bearer tm_x\r\nContent-Length: \(content.utf8.count)\r\n\r\n"
                    + content))
    }

    @Test func formsAreWrittenOut() {
        let (form, one) = Self.request(Self.plan(.form, prefix: "a &ü:"))
        let content = "key=a%20%26%c3%bc:\(one[0].key)&value=\(one[0].delta)"
        #expect(
            form == "POST /increment HTTP/1.1\r\nHost: 127.0.0.1:3333\r\n"
                + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: \(content.utf8.count)\r\n\r\n"
                + content)
        let (json, single) = Self.request(Self.plan(.json, prefix: "q\"\\:"))
        #expect(json.hasPrefix("POST /increment HTTP/1.1\r\n") && json.contains("Content-Type: application/json\r\n"))
        #expect(json.hasSuffix("\r\n\r\n" + #"{"key":"q\"\\:\#(single[0].key)","value":\#(single[0].delta)}"#))
        let (object, two) = Self.request(Self.plan(.json, batch: 2))
        let members = two.map { #""b:\#($0.key)":\#($0.delta)"# }.joined(separator: ",")
        #expect(object.hasPrefix("POST /increments HTTP/1.1\r\n") && object.hasSuffix("\r\n\r\n{\(members)}"))
        var plan = Self.plan(.lines, batch: 3)
        plan.level = .stored
        let (lines, three) = Self.request(plan)
        #expect(lines.hasPrefix("POST /increments?level=stored HTTP/1.1\r\n"))
        #expect(lines.hasSuffix("\r\n\r\n" + three.map { "b:\($0.key)\t\($0.delta)\n" }.joined()))
    }

    /// A seed fixes the increments; threads differ. Keys and deltas reach both ends of their ranges and not beyond.
    @Test func seedsDecide() {
        let plan = Self.plan(.lines, batch: 10_000)
        let first = Self.request(plan).increments
        let isRepeated = first == Self.request(plan).increments
        let isShared = first == Self.request(plan, stream: 1).increments
        #expect(isRepeated && !isShared)
        #expect(Set(first.map(\.key)) == Set(0..<100))
        var random = SplitMix64(seed: 1, stream: 0)
        let deltas = (0..<1_000_000).map { _ in random.below(20_001) }
        #expect(deltas.min() == 0 && deltas.max() == 20_000)
        #expect(first.allSatisfy { (-10_000...10_000).contains($0.delta) } && first.contains { $0.delta < 0 })
    }

    @Test func plansThatContradictThemselves() {
        let changes: [(String, (inout LoadPlan) -> Void)] = [
            ("--keys", { $0.keys = 0 }), ("--keys", { $0.keys = LoadPlan.keysMax + 1 }),
            ("--connections", { $0.connections = 0 }), ("--connections-only", { $0.parkedConnections = -1 }),
            ("--threads", { $0.threads = 0 }), ("--threads", { ($0.threads, $0.connections) = (3, 2) }),
            ("--batch", { ($0.batch, $0.body) = (10_001, .json) }), ("--body form", { $0.batch = 2 }),
            ("--rate", { $0.rate = .perSecond(-1) }),
            ("--connections", { ($0.batch, $0.body, $0.connections) = (10_000, .lines, 201) }),
            ("--pid", { $0.serverProcess = 1 }), ("--keys-prefix", { $0.keysPrefix = "a\nb" }),
            ("--keys-prefix", { $0.keysPrefix = String(repeating: "k", count: 510) }),
        ]
        for (flag, change) in changes {
            var plan = Self.plan(.form)
            #expect(throws: Never.self) { try plan.validate() }
            change(&plan)
            let failure = #expect(throws: Failure.self) { try plan.validate() }
            #expect(failure?.code == .usage && failure?.what.contains(flag) == true, "\(failure as Any)")
        }
    }
}
