// How many sockets of clients the process has open, and of whom. Listeners look before they accept: what they do not
// accept waits in the kernel and takes no descriptor of those that Redis and the admin listener need.

import Glibc
import Synchronization

/// Who is at the other end of a connection: an IPv4 address, or a network of IPv6 of 64 bits, which is what one
/// customer has of a provider.
struct PeerAddress: Hashable, Sendable {
    let bits: UInt64

    /// nil if the system does not know.
    init?(of descriptor: Int32) {
        guard let address = SocketAddress(connectedTo: descriptor) else { return nil }
        bits = address.networkBits
    }

    init(bits: UInt64) {
        self.bits = bits
    }
}

/// The clients' sockets of one server. From any thread.
final class OpenSockets: Sendable {
    private let count = Atomic<Int>(0)
    private let countMax: Int
    private let perAddressMax: Int?
    private let byAddress = Mutex<[PeerAddress: Int]>([:])

    init(_ limits: HTTPLimits) {
        countMax = limits.socketsMax
        perAddressMax = limits.connectionsPerAddress
    }

    /// Whether one more may be accepted.
    var hasRoom: Bool { count.load(ordering: .relaxed) < countMax }

    /// Counts one that was accepted.
    ///
    /// - Returns: who it is, if that is counted, and why it is not to be served.
    func opened(_ descriptor: Int32) -> (peer: PeerAddress?, refusal: Problem?) {
        count.add(1, ordering: .relaxed)
        guard let perAddressMax, let peer = PeerAddress(of: descriptor) else { return (nil, nil) }
        let number = byAddress.withLock { counts in
            counts[peer, default: 0] += 1
            return counts[peer, default: 0]
        }
        return (peer, number > perAddressMax ? .tooManyOfAddress(perAddressMax) : nil)
    }

    func closed(_ peer: PeerAddress?) {
        count.subtract(1, ordering: .relaxed)
        guard let peer else { return }
        byAddress.withLock { counts in
            let left = counts[peer, default: 1] - 1
            counts[peer] = left > 0 ? left : nil
        }
    }
}
