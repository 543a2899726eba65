// The socket at which a running `up` is asked things by other commands: a unix socket of mode 0600, in <data>/up/ or
// where SocketPath.swift moves it; <data>/up/control.socket holds its path.
//
// The language is made of lines of text that end with LF: the client sends one of these, and reads what comes back.
//
//   hold REASON   `up` ends its consumers in order and starts none any more
//                     held                  all have ended
//                     busy REASON           somebody else holds them, for this reason; nothing has changed
//   release       what the connection holds, or has asked for, is given back; so it is at the end of the connection,
//                 however it ends. `up` reads the cluster file again and starts the consumers of its epoch
//                     released K            they consume K partitions, and all are ready
//                     released 0 building   there are none: the file says `building`
//                     released 0 held       somebody else holds them already
//                     released 0 starting   `up` itself starts, and will start them
//   state         one line of JSON, see UpState.swift
//
// Whatever cannot be done is answered with `error SENTENCE`. Answers come in the order of the lines. Whoever is not
// this user or root is turned away, though the mode of the socket does not let them in.
//
// All of it happens in the supervisor's poll: nothing here waits. The number of connections is bounded.

import CPlatform
import Glibc
import ServiceKit

/// Listens, and hands over lines. Owned by the supervisor's thread.
public final class ControlSocket {
    static let connectionsMax = 8
    /// How long nobody is accepted after the system refused to, for want of descriptors.
    static let pauseMilliseconds: UInt64 = 1_000

    /// What has arrived.
    enum Event: Hashable {
        case line(String, from: Int)
        /// The connection is over.
        case closed(Int)
    }

    let path: String
    private let descriptor: Int32
    private var connections: [ControlConnection] = []
    private var connectionsSeen = 0
    private var pausedUntil: UInt64 = 0

    /// - Throws: exit code 74.
    init(at path: String) throws(Failure) {
        self.path = path
        descriptor = try UnixSocket.listen(at: path)
    }

    deinit {
        close(descriptor)
        _ = unlink(path)  // one that stays is refused by the system, and deleted by the next `up`
    }

    /// What `poll` watches.
    var descriptors: [Int32] {
        let listening = pausedUntil == 0 ? [descriptor] : []
        return listening + connections.filter { !$0.isOver }.map(\.descriptor)
    }

    /// When it wants to be looked at without an event.
    var nextLook: UInt64? {
        if connections.contains(where: \.isOver) { return 0 }
        return pausedUntil == 0 ? nil : pausedUntil
    }

    /// What has arrived since the last look.
    func look(now: UInt64) -> [Event] {
        accept(now: now)
        var events: [Event] = []
        for connection in connections {
            if !connection.isOver { events += connection.read().map { .line($0, from: connection.id) } }
            if connection.isOver { events.append(.closed(connection.id)) }
        }
        connections.removeAll(where: \.isOver)
        return events
    }

    func send(_ line: String, to id: Int) {
        connections.first { $0.id == id }?.send(line)
    }

    /// The process at the other end; nil if it is gone.
    func process(of id: Int) -> Int32? {
        connections.first { $0.id == id }?.process
    }

    private func accept(now: UInt64) {
        guard now >= pausedUntil else { return }
        pausedUntil = 0
        while true {
            let accepted = tm_accept(descriptor)
            guard accepted >= 0 else {
                switch errno {
                case EINTR, ECONNABORTED: continue
                case EAGAIN: return
                default:
                    pausedUntil = now + Self.pauseMilliseconds
                    return
                }
            }
            connectionsSeen += 1
            guard let connection = ControlConnection(owning: accepted, id: connectionsSeen) else { continue }
            if connection.user != geteuid(), connection.user != 0 {
                connection.giveUp("only user \(geteuid()) and root may speak to this `up`")
            } else if connections.count >= Self.connectionsMax {
                connection.giveUp("\(Self.connectionsMax) programs are connected already")
            } else {
                connections.append(connection)
            }
        }
    }
}
