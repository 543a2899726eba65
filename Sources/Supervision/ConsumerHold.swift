// A tool that needs the consumers stopped asks the `up` that runs them. As long as it holds them none runs, web nodes
// and Redis go on, and what arrives waits in Redis.
//
// The hold is the connection: the system closes it however the tool ends, and then `up` reads the cluster file and
// starts the consumers of its epoch, or none while that is being built. So a tool that is killed stops nothing for
// good.

public import ServiceKit

/// The consumers of a running `up`, stopped until this is released or gone. Owned by one thread.
public final class ConsumerHold {
    static let reasonBytesMax = 200

    private let client: ControlClient
    private var isReleased = false

    private init(_ client: ControlClient) {
        self.client = client
    }

    /// Waits until no consumer of the folder's `up` runs, and none will.
    ///
    /// - Parameters:
    ///   - reason: for people, as it reads in "the consumers are held: rebalance to 7 partitions"; one line.
    ///   - waitingMilliseconds: for the consumers, which finish their transactions: half a minute at most.
    /// - Returns: nil if no `up` runs in the folder. It can be started at any time, and is kept from starting consumers
    ///   by the lock of the cluster file alone: take that first.
    /// - Throws: 75 if another tool holds them, they do not end in time, or `up` is of an earlier release; 69 if `up`
    ///   ends; 74 if this user may not speak to it; 1 if it refuses.
    public static func take(
        dataFolder: String, reason: String, waitingMilliseconds: UInt64
    ) throws(Failure) -> ConsumerHold? {
        guard let client = try ControlClient.connect(dataFolder: dataFolder) else { return nil }
        client.send("hold \(oneLine(reason))")
        switch try client.receive(waitingMilliseconds: waitingMilliseconds) {
        case .line("held"): return ConsumerHold(client)
        case .line(let line) where line.hasPrefix("busy "):
            throw Failure(
                .locked, "the consumers are held already: \(line.dropFirst("busy ".count))", at: dataFolder,
                advice: "Wait for that command to end, then run this again.")
        case .line(let line): throw client.refusal(line)
        case .ended: throw client.ended
        case .late:
            throw Failure(
                .locked,
                "the consumers of process \(client.pid) have not ended within \(waitingMilliseconds / 1_000) s",
                at: dataFolder,
                advice:
                    "They finish their transactions first, and go on now. Run this again; `up` says more.")
        }
    }

    /// Gives the consumers back, once, and waits until those of the cluster file work.
    ///
    /// - Returns: `released K` for K partitions, with `, but consumer 2 ended with code 65` behind it if one is refused
    ///   what it needs; `released 0 building` if the epoch is being built, or `released 0
    ///   held` if another tool holds them now.
    /// - Throws: 69 if `up` ends meanwhile, 1 if it cannot start them or they are not ready in time. They are given
    ///   back in any case.
    public func release(waitingMilliseconds: UInt64) throws(Failure) -> String {
        precondition(!isReleased, "a hold is released once")
        isReleased = true
        client.send("release")
        switch try client.receive(waitingMilliseconds: waitingMilliseconds) {
        case .line(let line) where line.hasPrefix("released "): return line
        case .line(let line): throw client.refusal(line)
        case .ended: throw client.ended
        case .late:
            throw Failure(
                .failure, "the consumers of process \(client.pid) are not ready after \(waitingMilliseconds / 1_000) s",
                advice: "They are being started; what `up` prints says why it takes so long.")
        }
    }

    /// Line ends and other control bytes would end the request, and too many bytes, too.
    private static func oneLine(_ reason: String) -> String {
        var text = ""
        for scalar in reason.unicodeScalars {
            let next = scalar.value < 0x20 || scalar.value == 0x7F ? " " : String(scalar)
            if text.utf8.count + next.utf8.count > reasonBytesMax { break }
            text += next
        }
        return text
    }
}
