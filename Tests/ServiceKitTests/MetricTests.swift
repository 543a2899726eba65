// The page of metrics byte for byte, and the buckets at their bounds.

import Testing

@testable import ServiceKit

@Suite struct MetricTests {
    private let requests = Metric("requests_total", .counter, labels: ["level", "reason"], "Requests, \"all\" of them")
    private let latency = Metric("latency_seconds", .histogram, "Time")

    private func text(_ fill: (inout MetricPage) -> Void) -> String {
        var page = MetricPage()
        fill(&page)
        return String(decoding: page.text, as: UTF8.self)
    }

    @Test func samplesStandBelowTheirMetric() {
        let page = text { page in
            page.add(requests, [.init(.whole(3), "queued", "a\\b"), .init(.fraction(0.5), "stored", "say \"x\"\n")])
            page.add(Metric("up", .gauge, "Whether"), .flag(true))
        }
        #expect(
            page == #"""
                # HELP requests_total Requests, "all" of them
                # TYPE requests_total counter
                requests_total{level="queued",reason="a\\b"} 3
                requests_total{level="stored",reason="say \"x\"\n"} 0.5
                # HELP up Whether
                # TYPE up gauge
                up 1

                """#)
    }

    @Test func aMetricWithoutSamplesIsLeftOut() {
        #expect(text { $0.add(requests, []) }.isEmpty)
    }

    @Test func bucketsAddUp() {
        var histogram = LatencyHistogram()
        histogram.record(nanoseconds: 250_000)
        histogram.record(nanoseconds: 250_001)
        histogram.record(nanoseconds: 40_000_000_000)
        let lines = text { $0.add(latency, .histogram(histogram)) }.split(separator: "\n")
        #expect(lines.contains(#"latency_seconds_bucket{le="0.00025"} 1"#))
        #expect(lines.contains(#"latency_seconds_bucket{le="0.0005"} 2"#))
        #expect(lines.contains(#"latency_seconds_bucket{le="30.0"} 2"#))
        #expect(lines.contains(#"latency_seconds_bucket{le="+Inf"} 3"#))
        #expect(lines.contains("latency_seconds_sum 40.000500001"))
        #expect(lines.last == "latency_seconds_count 3")
    }

    @Test func histogramsAdd() {
        var left = LatencyHistogram()
        left.record(nanoseconds: 1)
        var right = LatencyHistogram()
        right.record(nanoseconds: 2)
        right.record(nanoseconds: UInt64.max / 4)
        left += right
        #expect(left.count == 3)
        #expect(left.counts.first == 2)
        #expect(left.counts.last == 1)
        #expect(left.sumNanoseconds == 3 + UInt64.max / 4)
    }

    @Test func aProcessKnowsItself() throws {
        let facts = try #require(ProcessFacts())
        #expect(facts.residentBytes > 1 << 20)
        #expect(facts.processorSeconds > 0)
        #expect((3...100_000).contains(facts.openFiles))
        #expect(facts.openFilesMax >= UInt64(facts.openFiles))
    }
}
