// One connection of the load: at most one request is under way on it.

/// The state of a connection; its loop performs the calls.
struct LoadConnection {
    enum State: Hashable {
        /// No socket. Left by `connecting`.
        case closed
        /// Left by `idle` or `closed`.
        case connecting
        /// No request under way. Left by `busy` or `closed`.
        case idle
        /// A request is under way. Left by `idle` or `closed`.
        case busy
    }

    private(set) var state = State.closed
    private(set) var socket: Int32 = -1
    /// Events of an earlier socket carry another.
    private(set) var generation: UInt32 = 0
    /// When its request was meant to be sent.
    private(set) var intendedNanoseconds: UInt64 = 0
    /// What of its request the socket did not take yet.
    var unsentBytes: ArraySlice<UInt8> = []
    var scanner = ResponseScanner()
    /// Whether it stands in the queue of idle connections, perhaps since before it was lost.
    var isQueued = false
    /// Whether a request of it was answered.
    private(set) var wasAnswered = false

    mutating func connects(_ socket: Int32) {
        precondition(state == .closed, "only a closed connection is opened")
        state = .connecting
        self.socket = socket
        generation &+= 1
        scanner.reset()
    }

    mutating func isOpen() {
        precondition(state == .connecting, "only a connecting connection can come to be open")
        state = .idle
    }

    mutating func sends(intendedNanoseconds: UInt64) {
        precondition(state == .idle, "a request needs an idle connection")
        state = .busy
        self.intendedNanoseconds = intendedNanoseconds
    }

    mutating func isAnswered() {
        precondition(state == .busy, "an answer without a request")
        state = .idle
        wasAnswered = true
    }

    /// Gives up the socket, which the caller closes.
    mutating func closes() -> Int32 {
        precondition(state != .closed, "a connection is closed once")
        state = .closed
        unsentBytes = []
        defer { socket = -1 }
        return socket
    }
}
