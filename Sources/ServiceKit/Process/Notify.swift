// What a service tells systemd (sd_notify(3)): datagrams of KEY=VALUE lines to the unix socket that NOTIFY_SOCKET
// names, a path or, with '@' in front, an abstract name. Without that variable every call does nothing, so that
// roles need not ask whether they are supervised.

import Glibc

/// The way to the supervisor.
public struct Notify: Sendable {
    /// Where the messages go; nil without a supervisor.
    public let socketPath: String?
    /// How often the supervisor wants to hear `watchdog`, in milliseconds; nil if it does not. Half of the time
    /// after which it kills, as sd_watchdog_enabled(3) recommends.
    public let watchdogIntervalMilliseconds: Int?

    /// Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
    public init(environment: [String: String]) {
        let path = environment["NOTIFY_SOCKET"]
        socketPath = path?.isEmpty == false ? path : nil
        let isForUs = environment["WATCHDOG_PID"].map { $0 == "\(getpid())" } ?? true
        let microseconds = environment["WATCHDOG_USEC"].flatMap(SettingKind.wholeNumber)
        watchdogIntervalMilliseconds = isForUs ? microseconds.map { max(1, $0 / 2_000) } : nil
    }

    /// The service does its work from now on.
    public func ready(status: String) throws(Failure) { try send("READY=1\n\(Self.statusLine(status))") }

    /// One line for `systemctl status`.
    public func status(_ text: String) throws(Failure) { try send(Self.statusLine(text)) }

    /// The service has begun to end.
    public func stopping(status: String) throws(Failure) { try send("STOPPING=1\n\(Self.statusLine(status))") }

    /// The work goes on.
    public func watchdog() throws(Failure) { try send("WATCHDOG=1") }

    /// Starting or stopping takes longer: patience for this long from now.
    public func extendTimeout(milliseconds: Int) throws(Failure) {
        try send("EXTEND_TIMEOUT_USEC=\(milliseconds * 1_000)")
    }

    private static func statusLine(_ text: String) -> String {
        // A line end would begin another assignment.
        "STATUS=" + String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 ? " " : $0 }))
    }

    /// Sends assignments, one a line.
    ///
    /// - Throws: exit code 1 if the supervisor's socket does not take the message within 2 s.
    func send(_ assignments: String) throws(Failure) {
        guard let socketPath else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(cannot: "notify the supervisor", errno: errno, code: .failure) }
        defer { SystemCall.close(descriptor) }
        var limit = timeval(tv_sec: 2, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard let address = UnixAddress(socketPath) else {
            throw Failure(
                .configuration, "NOTIFY_SOCKET is \(quoted(socketPath)): must be a path or @name of at most 107 bytes",
                advice: "Socket families other than unix are not supported.")
        }
        let bytes = Array(assignments.utf8)
        let sent = address.withPointer { pointer, length in
            SystemCall.retrying { sendto(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL), pointer, length) }
        }
        if case .failed(let number) = sent {
            throw Failure(cannot: "notify the supervisor", errno: number, at: socketPath, code: .failure)
        }
    }
}
