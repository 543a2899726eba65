// Waits double from 20 ms and stop growing at 1 s, for any number of failures.

import TallyCore
import Testing

@Suite struct BackoffTests {
    @Test func waitsDoubleUpToTheirBound() {
        #expect((0...8).map { Backoff.milliseconds(failures: $0) } == [0, 20, 40, 80, 160, 320, 640, 1_000, 1_000])
        #expect(Backoff.milliseconds(failures: 17) == 1_000)
        #expect(Backoff.milliseconds(failures: .max) == 1_000)
    }
}
