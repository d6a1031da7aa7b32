"""Contradictions within NNW-TEC V1.0, the choice made for each, and the tables concerned."""

from typing import NamedTuple

__all__ = ["CONTRADICTIONS", "Contradiction", "flags"]


class Contradiction(NamedTuple):
    """One contradiction: where it stands, what it is (a sentence), the choice made, and the numbers of the tables touched."""

    where: str
    contradiction: str
    choice: str
    tables: tuple[int, ...]


CONTRADICTIONS: tuple[Contradiction, ...] = (
    Contradiction(
        "6.1; 7.2.5, 7.3.4, 7.4.4; Tables 2, 12, 17, 22",
        "The headings of Tables 2, 12 and 17 say Top-1 accuracy; clause 6.1 and Table 22 say classification error.",
        "The relative variation of the classification error, times 100; the Top-1 accuracy stands beside it.",
        (2, 12, 17, 22),
    ),
    Contradiction(
        "Equations (1), (3), (4) of 7.2.5, 7.3.4, 7.4.4",
        "Impact is multiplied by 100 in the equation and, in the text, 'will be multiplied by 100' again.",
        "Once.",
        (2, 3, 12, 17),
    ),
    Contradiction(
        "Equation (2) of 7.2.6 and its repetition as (4) in 7.4.5; Tables 4 to 11, 13 to 16, 18 to 21",
        "The equation of the error has no factor 100, but the tables print percentages (765 for a network at chance).",
        "Times 100, as Impact.",
        (4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 18, 19, 20, 21),
    ),
    Contradiction(
        "Table 4, alpha = 50",
        "The errors of alpha = 50 look not multiplied by 100: 0.744 and 6.571 stand beside 85.3 and 513.",
        "Printed as published, and flagged.",
        (4,),
    ),
    Contradiction(
        "Table 21, VGG16",
        "VGG16's columns % and error are exchanged: 0, 2, 15, 600, 682 stand under %, 100, 100, 93, 14, 14 under error.",
        "Printed as published, and flagged; whoever compares reads them the other way round.",
        (21,),
    ),
    Contradiction(
        "Tables 2 and 22, ResNet8, N = 16144, alpha = 90",
        "The same impact is 175 in Table 2 and 192 in Table 22.",
        "Both as published, and flagged.",
        (2, 22),
    ),
    Contradiction(
        "7.3.6 and Table 23",
        "RTW increases the training time by 16.67 % in the text and by 16.64 % in Table 23.",
        "Both as published, and flagged.",
        (23,),
    ),
    Contradiction(
        "7.2.5, the published text on NCT",
        "Table 3 is announced for N = 256 in the text on NCT, for N = 512 everywhere else.",
        "N = 512.",
        (3,),
    ),
    Contradiction(
        "3, 7.2.5, 7.2.6",
        "Corr is Pearson's correlation in 7.2.5; it is decided with Spearman's in 3 and under the tables.",
        "Both are reported; Spearman's decides.",
        (2, 3, 4, 5, 6, 7, 8, 9, 10, 11),
    ),
    Contradiction(
        "7.2.5, Table 2",
        "The text promises corr in each row of Tables 2 and 3; neither has a column for it.",
        "Impact and both correlations are given.",
        (2, 3),
    ),
    Contradiction(
        "7.4.5, Tables 19 to 21",
        "The text says 'retrieved (BER = 0)' where TBW's mark has no bits: % > 40 is meant.",
        "% > 40.",
        (19, 20, 21),
    ),
    Contradiction(
        "7.4.4 and 7.4.5, Tables 17, 19, 20, 21",
        "The text announces a BER; the columns are the percentage of triggers that are labelled as recorded.",
        "The percentage.",
        (17, 19, 20, 21),
    ),
    Contradiction(
        "7.3.5, Tables 14 to 16",
        "The text announces the correlation (corr); the columns are the BER.",
        "The BER.",
        (14, 15, 16),
    ),
    Contradiction(
        "7.3.4, Table 12, lambda = 0.001",
        "'For all given configurations, the watermark is successfully retrieved (BER = 0)', but 0.14 and 0.25 are printed.",
        "Printed as published, and flagged; BER = 0 decides.",
        (12,),
    ),
    Contradiction(
        "7.4.5, Tables 18, 20, 21",
        "The mark is called retrieved (% > 40) at every strength; 8 to 15 % are printed at heavy ones, 30 at ResNet8, P = 50.",
        "Printed as published, and flagged; % > 40 decides.",
        (18, 20, 21),
    ),
    Contradiction(
        "3, SSIM",
        "SSIM is defined with the statistics of the whole image and C1 = 6.5025, C2 = 58.5225, not in windows as is usual.",
        "The standard's formula; the windowed form stands beside it.",
        (3,),
    ),
    Contradiction(
        "Table 10, alpha = 50 and 90, P = 10 and 20",
        "The error is 0 in the main text and 1 in the published text on NCT.",
        "The main text, flagged.",
        (10,),
    ),
    Contradiction(
        "Tables 5 and 7 against 9 and 11, ResNet8",
        "The correlation of a hardly modified mark is .712, .821, .982 in Tables 5 and 7, .748, .716, .992 in 9 and 11.",
        "Taken as different trainings, and flagged.",
        (5, 7, 9, 11),
    ),
    Contradiction(
        "7.3.5 and 7.4.5",
        "Watermark Overwriting is announced for RTW and TBW, but no table gives it.",
        "It is measured all the same.",
        (),
    ),
    Contradiction(
        "5.3.1 and 6.2",
        "Unicity is a property of fingerprints in 5.3.1; 6.2 evaluates robustness and computational cost only.",
        "It is evaluated.",
        (),
    ),
    Contradiction(
        "7.2.6, Figure 4",
        "The line y = 0.018 is called the threshold at 5 % significance, but fits none of the printed N (N = 512: .087).",
        "The threshold that belongs to the N measured; 0.018 is drawn as published.",
        (),
    ),
    Contradiction(
        "7.3.2, Equation (2)",
        "The regularization term lacks the minus sign of a cross entropy: minimised as printed, it would erase the mark.",
        "With the minus sign, as in reference [8].",
        (),
    ),
    Contradiction(
        "1 and 4.1",
        "NNW-NNT is cited as V1.0 in the introduction and as V1.1 among the references.",
        "The protocol as NNW-NNT's public pages describe it.",
        (),
    ),
)
"""In the order of what they touch: quality, tables, marks, protocol."""


def flags(number: int) -> tuple[str, ...]:
    """The contradictions that touch the table of this number, a sentence each."""
    return tuple(found.contradiction for found in CONTRADICTIONS if number in found.tables)
