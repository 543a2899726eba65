// What can be asked of a running `up` without changing anything.

public import ServiceKit

public enum UpControl {
    /// How long it may take to answer. It is blocked for some seconds while it looks for Redis at its start.
    static let answerMilliseconds: UInt64 = 10_000

    /// What the `up` that runs in a data folder says of itself.
    ///
    /// - Returns: nil if there is none.
    /// - Throws: 75 if it is of an earlier release, 69 if it does not answer, 74 if this user may not speak to it, 1 if
    ///   it refuses.
    public static func state(dataFolder: String) throws(Failure) -> UpState? {
        guard let client = try ControlClient.connect(dataFolder: dataFolder) else { return nil }
        client.send("state")
        switch try client.receive(waitingMilliseconds: answerMilliseconds) {
        case .line(let line):
            guard let state = UpState(json: line) else { throw client.refusal(line) }
            return state
        case .ended: throw client.ended
        case .late:
            throw Failure(
                .unavailable,
                "the `up` of process \(client.pid) has not answered within \(answerMilliseconds / 1_000) s",
                at: dataFolder)
        }
    }
}
