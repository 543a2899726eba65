// A systemctl of a test's own: a script that notes how it was called, answers from files, and does what enabling and
// disabling do to the links of a search path. What the real one answers was looked up in systemd 252.

import Glibc
import ServiceKit

@testable import Operations

/// A folder with that script. The search path has two folders: `lib` for unit files, `etc` for links.
final class FakeSystemctl {
    private let folder = ScratchFolder()

    /// With the template of the consumers installed.
    init() {
        for name in ["bin", "lib", "etc", "etc/tallymill.target.wants"] { mkdir("\(folder.path)/\(name)", 0o755) }
        folder.write("", to: "units")
        folder.write("", to: "calls")
        folder.write("", to: "broken")
        folder.write("[Service]\n", to: "lib/tallymill-consumer@.service")
        install(Self.script)
    }

    private static let script = #"""
        [ "$1" = --no-ask-password ] && shift
        echo "$*" >> "$folder/calls"
        for unit; do :; done
        case "$1" in
        show) echo "$folder/lib $folder/etc $folder/none" ;;
        list-units) cat "$folder/units" ;;
        enable | disable)
            if grep -qxF "$unit" "$folder/broken"; then echo "Job for $unit failed." >&2; exit 1; fi
            grep -vF "$unit " "$folder/units" > "$folder/rest"
            rm -f "$folder/etc/tallymill.target.wants/$unit"
            if [ "$1" = enable ]; then
                ln -s "$folder/lib/tallymill-consumer@.service" "$folder/etc/tallymill.target.wants/$unit"
                echo "$unit loaded active running a consumer" >> "$folder/rest"
            fi
            mv "$folder/rest" "$folder/units" ;;
        reset-failed)
            grep -vF "$unit " "$folder/units" > "$folder/rest"
            mv "$folder/rest" "$folder/units" ;;
        *) echo "Unknown command verb $1." >&2; exit 1 ;;
        esac
        """#

    /// Replaces the script by another one; `$folder` is where the files are.
    func install(_ script: String) {
        folder.write("#!/bin/sh\nfolder='\(folder.path)'\n\(script)\nexit 0\n", to: "bin/systemctl")
        chmod("\(folder.path)/bin/systemctl", 0o755)
    }

    /// The folder of the script, for PATH.
    var programs: String { "\(folder.path)/bin" }

    func make() throws(Failure) -> Systemctl {
        try Systemctl(environment: ["PATH": "\(programs):/usr/bin:/bin"])
    }

    /// Enables an instance without starting it.
    func link(_ name: String) {
        symlink(
            "\(folder.path)/lib/tallymill-consumer@.service",
            "\(folder.path)/etc/tallymill.target.wants/tallymill-consumer@\(name).service")
    }

    /// Says that systemd has loaded an instance in a state such as `failed failed`.
    func load(_ name: String, _ state: String) throws(Failure) {
        let line = "tallymill-consumer@\(name).service loaded \(state) a consumer of tallymill\n"
        folder.write(try folder.text("units") + line, to: "units")
    }

    /// Lets every command for an instance fail.
    func breakUnit(_ name: String) { folder.write("tallymill-consumer@\(name).service\n", to: "broken") }

    func removeTemplate() { unlink("\(folder.path)/lib/tallymill-consumer@.service") }

    /// How it was called, without the questions.
    func commands() throws(Failure) -> [String] {
        try folder.text("calls").split(separator: "\n").map(String.init).filter {
            !$0.hasPrefix("show") && !$0.hasPrefix("list-units")
        }
    }
}
