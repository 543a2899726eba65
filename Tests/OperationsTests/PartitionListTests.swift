// Lists of partitions as a person reads and writes them.

import Operations
import Testing

@Suite struct PartitionListTests {
    @Test func textIsWhatParseReads() throws {
        #expect(PartitionList.text([]).isEmpty)
        #expect(PartitionList.text([3]) == "3")
        #expect(PartitionList.text([2, 1, 0, 2]) == "0-2")
        #expect(PartitionList.text([7, 0, 2, 3, 5, 6]) == "0,2-3,5-7")
        #expect(try PartitionList.parse("0,2-3,5-7", partitions: 8) == [0, 2, 3, 5, 6, 7])
    }
}
