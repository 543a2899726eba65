// Commands that are printed to be pasted, completed with what was given.

import Logging
import Testing

@testable import ServiceKit

@Suite struct GivenOptionsTests {
    private func given(
        flags: [String: String] = [:], environment: [String: String] = [:], file: String = ""
    ) throws -> GivenOptions {
        let file = try SettingsFile(path: "t.conf", content: Array(file.utf8))
        return GivenOptions(
            try Settings.resolve(command: .status, flags: flags, environment: environment, file: file))
    }

    @Test func whatWasGivenIsAdded() throws {
        let flags = ["redis": "unix:///r.sock", "namespace": "shop", "data-dir": "my data", "log-level": "debug"]
        let given = try given(flags: flags)
        #expect(
            given.command("tallymill repair --yes")
                == "tallymill repair --yes --redis unix:///r.sock --namespace shop --data-dir 'my data'")
        // What it has already, and what is no command of ours.
        #expect(
            given.command("tallymill up --data-dir other --redis unix:///q --namespace x")
                == "tallymill up --data-dir other --redis unix:///q --namespace x")
        for other in ["tallymill token new NAME", "tallymill report --help", "redis-cli PING", "tallymill", ""] {
            #expect(given.command(other) == other)
        }
    }

    @Test func fromTheEnvironmentAndAFile() throws {
        let file = "TALLYMILL_NAMESPACE=shop\nTALLYMILL_ALLOW_VOLATILE_REDIS=true\n"
        let environment = ["TALLYMILL_REDIS_PASSWORD_FILE": "/secret", "STATE_DIRECTORY": "/var/lib/a:/var/lib/b"]
        #expect(
            try given(flags: ["config": "t.conf"], environment: environment, file: file).command("tallymill status")
                == "tallymill status --config t.conf --redis-password-file /secret --data-dir /var/lib/a")
        #expect(
            try given(flags: ["allow-volatile-redis": "true"]).command("tallymill web")
                == "tallymill web --allow-volatile-redis")
        #expect(try given(environment: ["HOME": "/root"]) == .none)
    }

    /// The password stays where it is; the address of a user without one is no secret.
    @Test func secrets() throws {
        let command = #"tallymill status --redis "$TALLYMILL_REDIS""#
        for url in ["redis://:word@host", "redis://user:word@host:1/2"] {
            #expect(try given(flags: ["redis": url]).command("tallymill status") == command)
            #expect(try given(environment: ["TALLYMILL_REDIS": url]).command("tallymill status") == command)
        }
        #expect(
            try given(flags: ["redis": "unix://user@/r.sock"]).command("tallymill status")
                == "tallymill status --redis unix://user@/r.sock")
        let file = "TALLYMILL_REDIS=redis://:word@host\n"
        #expect(
            try given(flags: ["config": "t.conf"], file: file).command("tallymill status")
                == "tallymill status --config t.conf")
    }

    @Test func inTexts() throws {
        let given = try given(flags: ["data-dir": "d"])
        let text = """
            `up` and the `tallymill` of `tallymill repair` or `tallymill audit --all`:
              $ tallymill verify
                tallymill rebalance resume
            tallymill is ready; tallymill: no `tallymill status
            """
        let completed = given.completing(text)
        #expect(
            completed == """
                `up` and the `tallymill` of `tallymill repair --data-dir d` or `tallymill audit --all --data-dir d`:
                  $ tallymill verify --data-dir d
                    tallymill rebalance resume --data-dir d
                tallymill is ready; tallymill: no `tallymill status
                """)
        #expect(given.completing(completed) == completed)
        #expect(GivenOptions.none.completing(text) == text)
    }

    @Test func fromAnywhere() throws {
        let given = try given(flags: ["data-dir": "d", "namespace": "n"])
        #expect(
            given.fromAnywhere(calling: "'/opt/my tools/tallymill'", dataFolder: "/srv/d").command("tallymill report")
                == "'/opt/my tools/tallymill' report --namespace n --data-dir /srv/d")
    }

    /// A log line's commands, too.
    @Test func inTheLog() throws {
        let settings = try Settings.resolve(
            command: .web, flags: ["data-dir": "d"], environment: [:], file: nil)
        let event = LogOutput(settings, environment: [:]).completing(
            LogLine.Event(
                milliseconds: 0, level: .warning, label: "web", message: "run `tallymill repair`",
                metadata: ["reason": "`tallymill verify` says more", "list": ["`tallymill verify`"]]))
        #expect(event.message == "run `tallymill repair --data-dir d`")
        #expect(event.metadata["reason"] == "`tallymill verify --data-dir d` says more")
        #expect(event.metadata["list"] == ["`tallymill verify`"])
    }
}
