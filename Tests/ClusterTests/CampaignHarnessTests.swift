// The campaign itself: what it draws, how it cuts down, and that its oracle tells what may be lost from what may not.

import ClusterSupport
import Testing

extension ClusterTests {
    @Suite struct CampaignHarnessTests {
        private func ledger() -> Ledger {
            var ledger = Ledger()
            for (digit, source) in [1, 1, 2].enumerated() {
                var posting = Posting()
                posting.digit = digit
                posting.tracerKeys = ["t"]
                ledger.record(posting, .acknowledged, by: UInt16(source))
            }
            return ledger
        }

        /// Digits 0 and 1 through node 1, digit 2 through node 2.
        @Test func whatIsExposedMayBeMissingOnce() {
            var ledger = ledger()
            #expect(ledger.discrepancies(in: ["t": 21]).isEmpty)
            #expect(ledger.discrepancies(in: ["t": 17]).count == 1)
            // Digit 0 is safe, and digit 2 is of another node.
            #expect(ledger.expose(by: [1], except: ["t": 1]) == 1)
            #expect(ledger.discrepancies(in: ["t": 17]).isEmpty)
            #expect(ledger.missing(.exposed, in: ["t": 17]) == 1)
            #expect(ledger.missing(.exposed, in: ["t": 21]) == 0)
            #expect(ledger.discrepancies(in: ["t": 25]).count == 1)  // twice
            #expect(ledger.discrepancies(in: ["t": 16]).count == 1)  // the safe one
            #expect(ledger.discrepancies(in: ["t": 5]).count == 1)  // the other node's
        }

        @Test func whatNobodyCanNameIsKeptApart() {
            var ledger = ledger()
            #expect(ledger.expose(except: [:]) == 3)
            #expect(ledger.expose(as: .forgotten, by: [2], except: [:]) == 1)
            #expect(ledger.missing(.exposed, in: [:]) == 2)
            #expect(ledger.missing(.forgotten, in: [:]) == 1)
            #expect(ledger.missing(.exposed, by: [2], in: [:]) == 0)
            ledger.unexpose()
            #expect(ledger.discrepancies(in: ["t": 5]).isEmpty)
            #expect(ledger.discrepancies(in: [:]).count == 2)
        }

        @Test func aCopyIsNewerOnlyIfItHasEverything() {
            #expect(Ledger.isWhole(["t": 21, "u": 1], of: ["t": 17]))
            #expect(!Ledger.isWhole(["t": 20], of: ["t": 17]))
            #expect(!Ledger.isWhole(["u": 1], of: ["t": 1]))
        }

        @Test func aSeedDrawsTheSameAgain() {
            var sequences: Set<CampaignSequence> = []
            for seed in UInt64(0)..<50 {
                var (first, second) = (
                    CampaignDraw(seed: seed, canStepClocks: true), CampaignDraw(seed: seed, canStepClocks: true)
                )
                let sequence = first.sequence(steps: 12)
                #expect(sequence == second.sequence(steps: 12))
                #expect(sequence.steps.count == 12)
                #expect(!sequence.steps.contains { $0.shell == "?" })
                sequences.insert(sequence)
            }
            #expect(sequences.count == 50)
        }

        @Test func everyKindOfStepIsDrawn() {
            var kinds: Set<Substring> = []
            for seed in UInt64(0)..<400 {
                var draw = CampaignDraw(seed: seed, canStepClocks: true)
                for step in draw.sequence(steps: 12).steps { kinds.insert("\(step)".prefix { $0 != "(" }) }
            }
            let expected = [
                "work", "settle", "letTimePass", "ask", "askAgain", "startNode", "killNode", "terminateNode",
                "freezeNode", "thawNode", "startConsumers", "startUp", "killConsumers", "killUp", "terminateConsumers",
                "freezeConsumers", "thawConsumers", "killRedis", "startRedis", "copyRedis", "putBackRedis",
                "flushRedis", "initialize", "repair", "repairKilled", "collect", "purge", "purgeKilled", "resume",
                "resumeKilled", "prove", "rebalance", "rebalanceKilled", "importLines", "importKilled", "export",
                "backup", "restore", "makeLetter", "replayLetters", "dropLetters", "newToken", "copyFiles",
                "putBackFiles", "copyHost", "putBackHost", "staleInit", "staleRepair", "staleConsume",
            ]
            #expect(kinds.symmetricDifference(expected.map { $0[...] }).isEmpty)
        }

        @Test func aFailingSequenceIsCutDown() throws {
            let steps: [CampaignStep] = [
                .work, .copyRedis, .settle, .killRedis, .repair, .purge, .export, .killNode(0), .work, .backup,
            ]
            let failure = CampaignFailure(text: "step 3: it is lost", journal: [])
            var runs = 0
            var shrinking = CampaignShrinking(runs: 40, seconds: 60) { sequence in
                runs += 1
                let fails = sequence.steps.contains(.copyRedis) && sequence.steps.contains(.purge)
                return fails ? failure : nil
            }
            let whole = CampaignSequence(partitions: 2, steps: steps)
            let shortest = try shrinking.shortest(of: whole, failing: failure)
            #expect(shortest.sequence.steps == [.copyRedis, .purge])
            #expect(runs <= 40)
        }

        @Test func failuresAreOfAKind() {
            let failures = [
                "step 3, kill: 14 differences: t 7, digit 3: lost", "afterwards: 2 differences: t 9, digit 4: lost",
            ]
            let kinds = Set(failures.map { CampaignFailure(text: $0, journal: []).kind })
            #expect(kinds.count == 1)
        }

        @Test func rangesAreReadAsTheyAreNamed() {
            let (one, two) = ("293f67142273f9249ae9384151cbdda7", "ae822d66472831df6b2871a0cd6f4edd")
            let text = "missing: \(one) 38-54, \(two) 7\nof producer \(one), sequences 38-54; \(two): sequence 9"
            let found = NamedRange.all(in: text)
            #expect(found.map { "\($0)" } == ["\(one):38-54", "\(two):7-7", "\(two):9-9"])
            #expect(found.map(\.batches) == [17, 1, 1])
        }
    }
}
