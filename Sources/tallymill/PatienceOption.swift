import ArgumentParser
import ServiceKit

/// Of commands that write as they read shards: how long they hold them for somebody who takes nothing.
struct PatienceOption: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "how long nobody may take the output before it is given up, because shards' logs grow meanwhile",
            valueName: "seconds"))
    var patience = PatientWrite.snapshotSeconds

    func validate() throws {
        guard (1...86_400).contains(patience) else { throw ValidationError("--patience takes 1 to 86400 seconds") }
    }
}
