// The few system calls that everything here shares, with their two traps handled once: EINTR, and short writes.
//
// They return errno as a value, because only the caller knows what was attempted and how to say so.

import CPlatform
import Glibc

enum SystemCall {
    /// A result of a call, or the errno that it left.
    enum Outcome<Value> {
        case done(Value)
        case failed(Int32)
    }

    /// The system's words for an errno.
    static func text(ofErrno number: Int32) -> String {
        // glibc's strerror is thread-safe since 2.32.
        guard let text = strerror(number) else { return "error \(number)" }
        return String(cString: text)
    }

    /// Calls until it is not interrupted. A negative result becomes its errno.
    static func retrying<Value: SignedInteger>(_ call: () -> Value) -> Outcome<Value> {
        while true {
            let result = call()
            if result >= 0 { return .done(result) }
            let number = errno
            if number != EINTR { return .failed(number) }
        }
    }

    /// Opens a file, always close-on-exec.
    static func open(_ path: String, _ flags: Int32, mode: UInt32 = 0o640) -> Outcome<Int32> {
        retrying { Glibc.open(path, flags | O_CLOEXEC, mode_t(mode)) }
    }

    /// Closes a descriptor that holds no unwritten data.
    static func close(_ descriptor: Int32) {
        _ = Glibc.close(descriptor)  // nothing is unwritten, and Linux frees the number even when it reports EINTR
    }

    /// Writes all bytes, or says why it could not; nil is success.
    static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
        bytes.withUnsafeBytes { buffer in
            var offset = 0
            while offset < buffer.count {
                let rest = UnsafeRawBufferPointer(rebasing: buffer[offset...])
                switch retrying({ write(descriptor, rest.baseAddress, rest.count) }) {
                case .done(let count): offset += count
                case .failed(let number): return number
                }
            }
            return nil
        }
    }

    /// Reads at most `maximum` bytes from where the descriptor stands; fewer at the end of the file.
    static func readUpTo(_ maximum: Int, from descriptor: Int32) -> Outcome<[UInt8]> {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: min(max(maximum, 1), 1 << 16))
        while bytes.count < maximum {
            let wanted = min(chunk.count, maximum - bytes.count)
            switch retrying({ read(descriptor, &chunk, wanted) }) {
            case .done(0): return .done(bytes)
            case .done(let count): bytes += chunk[..<count]
            case .failed(let number): return .failed(number)
            }
        }
        return .done(bytes)
    }

    /// Waits until the descriptor can be read or is closed by the other side.
    ///
    /// - Parameter timeoutMilliseconds: nil waits for ever.
    /// - Returns: whether it is ready.
    static func waitReadable(_ descriptor: Int32, timeoutMilliseconds: Int?) -> Outcome<Bool> {
        wait(for: POLLIN, descriptor, timeoutMilliseconds)
    }

    /// Waits until the descriptor can be written to, or nobody reads it any more.
    ///
    /// - Returns: whether it is ready.
    static func waitWritable(_ descriptor: Int32, timeoutMilliseconds: Int?) -> Outcome<Bool> {
        wait(for: POLLOUT, descriptor, timeoutMilliseconds)
    }

    private static func wait(
        for events: Int32, _ descriptor: Int32, _ timeoutMilliseconds: Int?
    ) -> Outcome<Bool> {
        let deadline = timeoutMilliseconds.map { MonotonicClock.milliseconds() &+ UInt64(max(0, $0)) }
        while true {
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let count = poll(&entry, 1, remainingMilliseconds(until: deadline))
            if count > 0 { return .done(true) }
            if count < 0 && errno != EINTR { return .failed(errno) }
            if let deadline, MonotonicClock.milliseconds() >= deadline { return .done(false) }
        }
    }

    private static func remainingMilliseconds(until deadline: UInt64?) -> Int32 {
        guard let deadline else { return -1 }
        let now = MonotonicClock.milliseconds()
        return deadline <= now ? 0 : Int32(clamping: deadline - now)
    }
}
