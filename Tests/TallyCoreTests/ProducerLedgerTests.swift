// What a producer says it holds: every increment in one place, at each step from admission to the shard.

import Testing

@testable import TallyCore

@Suite struct ProducerLedgerTests {
    private func partition(_ driver: ProducerDriver, _ number: Int = 0) -> ProducerLedger.Partition {
        driver.producer.ledger(loop: 0, of: 1).partitions[number]
    }

    private func expect(
        _ partition: ProducerLedger.Partition, frozen: UInt64, confirmed: UInt64, stored: UInt64, admitted: Amount,
        unpushed: Amount, _ location: SourceLocation = #_sourceLocation
    ) {
        let expected = ProducerLedger.Partition(
            number: partition.number, frozen: frozen, confirmed: confirmed, stored: stored, admitted: admitted,
            unpushed: unpushed)
        #expect(partition == expected, sourceLocation: location)
    }

    @Test func fromAdmissionToTheShard() throws {
        var driver = ProducerDriver()
        let key = driver.key(0)
        expect(partition(driver), frozen: 0, confirmed: 0, stored: 0, admitted: .zero, unpushed: .zero)
        _ = try driver.admit([(key, 5), (key, -7)], level: .memory)
        let first = Amount(increments: 2, sum: -2)
        expect(partition(driver), frozen: 0, confirmed: 0, stored: 0, admitted: first, unpushed: first)
        let pushes = driver.pushes()
        expect(partition(driver), frozen: 1, confirmed: 0, stored: 0, admitted: first, unpushed: first)
        _ = try driver.admit([(key, 100)], level: .memory, idempotencyKey: "id")
        let both = Amount(increments: 3, sum: 98)
        expect(partition(driver), frozen: 1, confirmed: 0, stored: 0, admitted: both, unpushed: both)
        driver.answer(pushes, .ok(applied: 0))
        let second = Amount(increments: 1, sum: 100)
        expect(partition(driver), frozen: 1, confirmed: 1, stored: 0, admitted: both, unpushed: second)
        let next = driver.pushes()
        expect(partition(driver), frozen: 2, confirmed: 1, stored: 0, admitted: both, unpushed: second)
        // The first batch has left the outbox: the second one says what preceded it.
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(0))
        expect(partition(driver), frozen: 2, confirmed: 1, stored: 1, admitted: both, unpushed: second)
        driver.answer(next, .ok(applied: 2))
        expect(partition(driver), frozen: 2, confirmed: 2, stored: 2, admitted: both, unpushed: .zero)
        expect(partition(driver, 1), frozen: 0, confirmed: 0, stored: 0, admitted: .zero, unpushed: .zero)
    }

    /// What is in no shard yet is frozen anew by a move, and is then unpushed in the new epoch.
    @Test func afterAMove() throws {
        var driver = ProducerDriver()
        _ = try driver.admit([(driver.key(0), 3), (driver.key(1), 4)], level: .memory)
        driver.answer(driver.pushes(), .ok(applied: 0))
        _ = try driver.admit([(driver.key(0), 10)], level: .memory)
        driver.answerTopology(epoch: 2, partitions: 3)
        let ledger = driver.producer.ledger(loop: 1, of: 4)
        #expect(ledger.epoch == 2 && ledger.loop == 1 && ledger.loops == 4 && ledger.partitions.count == 3)
        let admitted = ledger.partitions.reduce(Amount.zero) { $0 + $1.admitted }
        let unpushed = ledger.partitions.reduce(Amount.zero) { $0 + $1.unpushed }
        #expect(admitted == Amount(increments: 3, sum: 17))
        #expect(unpushed == admitted)
    }

    @Test func asJSON() throws {
        let ledger = ProducerLedger(
            loop: 0, loops: 2, producer: CoreFixture.producer(7), epoch: 4,
            partitions: [
                ProducerLedger.Partition(
                    number: 3, frozen: 9, confirmed: 8, stored: 7,
                    admitted: Amount(increments: .max, sum: Int128.min),
                    unpushed: Amount(increments: 1, sum: -5))
            ])
        #expect(
            ledger.json
                == #"{"loop":0,"loops":2,"producer":"00000000000000aa0000000000000007","epoch":4,"partitions":["#
                + #"{"partition":3,"frozen":9,"confirmed":8,"stored":7,"admitted":{"increments":18446744073709551615,"#
                + #""sum":-170141183460469231731687303715884105728},"unpushed":{"increments":1,"sum":-5}}]}"#)
        #expect(try ProducerLedger(json: Array(ledger.json.utf8)) == ledger)
        let newer = ledger.json.dropLast() + #","later":[{"x":1}]}"#
        #expect(try ProducerLedger(json: Array(newer.utf8)) == ledger, "what a newer release adds is ignored")
    }

    @Test(
        arguments: [
            (#"{"loop":0,"loops":1,"epoch":1,"partitions":[]}"#, "producer is missing"),
            (#"{"loop":1,"loops":1,"producer":"P","epoch":1,"partitions":[]}"#, "loop is out of range"),
            (#"{"loop":0,"loops":1,"producer":"P","epoch":-1,"partitions":[]}"#, "epoch is out of range"),
            (#"{"loop":0,"loops":1,"producer":"ab","epoch":1,"partitions":[]}"#, "producer is out of range"),
            (#"{"loop":0,"loops":1,"producer":"P","epoch":1}"#, "partitions is missing"),
            (#"{"loop":0,"loops":1,"producer":"P","epoch":1,"partitions":[{}]}"#, "admitted is missing"),
            (#"{"loop":"x"}"#, "the number at byte 8 is out of range"), ("[]", "an object was expected"),
        ])
    func badJSON(text: String, expected: String) {
        let whole = text.replacing("\"P\"", with: "\"\(CoreFixture.producer(1))\"")
        let error = #expect(throws: ClusterFileError.self) { try ProducerLedger(json: Array(whole.utf8)) }
        #expect(error.map { "\($0)".hasPrefix(expected) } == true, "\(error.map { "\($0)" } ?? "")")
    }
}
