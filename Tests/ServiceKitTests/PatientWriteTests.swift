// Output that somebody takes slowly, or not at all.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct PatientWriteTests {
    /// More than a pipe holds.
    private let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0) }

    private func write(to descriptor: Int32, stallSeconds: Int?) -> PatientWrite.Ending {
        bytes.withUnsafeBytes { PatientWrite.all($0, to: descriptor, stallSeconds: stallSeconds) }
    }

    private func withPipe(_ body: (_ input: Int32, _ output: Int32) throws -> Void) rethrows {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        defer { for end in ends { close(end) } }
        try body(ends[0], ends[1])
    }

    @Test func nobodyTakesIt() {
        withPipe { _, output in
            #expect(write(to: output, stallSeconds: 0) == .stalled)
        }
    }

    /// Also through a descriptor that another process has made non-blocking.
    @Test(arguments: [0, O_NONBLOCK])
    func somebodyTakesItNowAndThen(flags: Int32) {
        withPipe { input, output in
            #expect(fcntl(output, F_SETFL, flags) == 0)
            let reader = ServiceThread(name: "reader") { [count = bytes.count] in
                var got: [UInt8] = []
                var piece = [UInt8](repeating: 0, count: 1_000)
                while got.count < count {
                    let read = Glibc.read(input, &piece, piece.count)
                    if read <= 0 { break }
                    got += piece.prefix(read)
                }
                #expect(got == (0..<count).map { UInt8(truncatingIfNeeded: $0) })
            }
            #expect(write(to: output, stallSeconds: 60) == .done)
            reader.join()
        }
    }

    @Test func filesAndDevices() throws {
        let full = open("/dev/full", O_WRONLY)
        defer { close(full) }
        #expect(write(to: full, stallSeconds: 60) == .failed(ENOSPC))
        var template = Array("/tmp/tallymill-patient-XXXXXX".utf8CString)
        let file = mkstemp(&template)
        defer {
            close(file)
            unlink(template)
        }
        #expect(write(to: file, stallSeconds: nil) == .done)
        var back = [UInt8](repeating: 0, count: bytes.count)
        #expect(pread(file, &back, back.count, 0) == bytes.count && back == bytes)
    }
}
